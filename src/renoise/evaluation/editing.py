"""The rows of the run `editing`: what edits change and keep, by every way to invert and every rule that there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from renoise import InversionConfig
from renoise.defaults import EDIT_GUIDANCE, edit_guidance
from renoise.edit_rules import DEFAULT_STRENGTH, KEEP, Changes, EditRule, PlainSampling
from renoise.evaluation.frontier import own_presets
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.outside import EditFriendly, NegativePrompt, NullPrompt
from renoise.evaluation.outside.edit_rules import Anchoring, AutomaticMask, Fusion, Gain, ReleasedNoises
from renoise.evaluation.rows import Presets, Row

# The strengths of edits; the default is measured beside them.
STRENGTHS = (0.0, 0.25, 0.5, 0.9, 1.0)
# Rules of other authors and an earlier one of this project, with the settings that were best on the bundled models, by
# their labels (docs/editing.md).
RIVALS: Mapping[str, EditRule] = MappingProxyType(
    {
        "plain sampling": PlainSampling(),
        "released noises": ReleasedNoises(),
        "automatic mask": AutomaticMask(),
        "gain": Gain(weight=1.25),
        "fusion": Fusion(omega=0.0),
        "anchoring": Anchoring(),
    }
)
# What the paper's edit losses are multiplied by.
FACTORS = (2.0, 4.0)


def editing_rows(presets: Presets) -> tuple[Row, ...]:
    """Return the rows for a model, each with the guidance that suits it or, for methods about guidance, their own."""
    paper, plain = presets["paper"], presets["paper"].reversing()
    guidance, ours = edit_guidance(paper), own_presets(presets)
    noise = {variant: preset for variant, preset in ours.items() if not preset.walking.direct}
    # Their default is 7.5, which burns the edits of a distilled model, whose guidance is built in (seen on mini-turbo).
    own = EDIT_GUIDANCE if paper.few_steps else 7.5
    friendly = EditFriendly(paper.num_steps, scheduler=None, seed=paper.seed)
    return (
        Row("sampler reversing", ReNoise(plain), guidance=guidance),
        *_of_paper(paper, guidance),
        *(row for variant, preset in ours.items() if preset.walking.direct for row in _at_strengths(variant, preset)),
        *(
            Row(
                f"preset {variant}",
                ReNoise(preset),
                guidance=edit_guidance(preset),
                series=f"presets {', '.join(noise)}",
            )
            for variant, preset in noise.items()
        ),
        Row("edit-friendly DDPM inversion", friendly, guidance=guidance),
        Row("negative-prompt inversion", NegativePrompt(plain, own)),
        Row("null-prompt inversion", NullPrompt(plain, own)),
    )


def _of_paper(paper: InversionConfig, guidance: float) -> Iterator[Row]:
    """Yield the paper's preset with its edit losses at several weights, which are its knob of an edit."""
    losses = paper.edit_losses
    series = f"the paper's preset, edit losses x 0, 1, {', '.join(f'{f:g}' for f in FACTORS)}"
    labelled = {"ReNoise without edit losses": None, "ReNoise (the paper's preset)": losses}
    if losses is not None:
        for factor in FACTORS:
            heavier = replace(losses, pair=factor * losses.pair, patch_kl=factor * losses.patch_kl)
            labelled[f"ReNoise, edit losses x {factor:g}"] = heavier
    for label, chosen in labelled.items():
        yield Row(label, ReNoise(replace(paper, edit_losses=chosen)), guidance=guidance, series=series)


def _at_strengths(variant: str, preset: InversionConfig) -> Iterator[Row]:
    """Yield a preset that keeps what edits need, at every strength and by the rules to compare with."""
    guidance, name = edit_guidance(preset), f"preset {variant}"
    for keep in KEEP:
        series = f"{name}, keep {keep}"
        for strength in sorted({*STRENGTHS, DEFAULT_STRENGTH}):
            method = ReNoise(preset, edit=Changes(strength=strength, keep=keep))
            yield Row(f"{series}, strength {strength:g}", method, guidance=guidance, series=series)
    for label, rule in RIVALS.items():
        yield Row(f"{name}, {label}", ReNoise(preset, edit=Changes(rule)), guidance=guidance)
