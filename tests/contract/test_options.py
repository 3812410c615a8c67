"""No option is passed over: each has an effect in a family, or is refused, or is remarked on.

The tables say which of the three: `e` another result, `r` a RenoiseError, `w` an IgnoredSettingWarning and the same
result. The columns are families and samplers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from parity import start
from renoise import (
    ConfigError,
    EditLosses,
    Editor,
    Inversion,
    InversionConfig,
    NoiseCorrection,
    RenoiseError,
    Renoising,
)
from renoise.config import Walk
from renoise.edit_rules import EditStep
from renoise.errors import IgnoredSettingWarning
from renoise.solvers import Anderson, Extrapolated, FixedPoint, Solver
from tiny_pipelines import BUILDERS

# By column: the pipeline and its sampler; None is its own. Stochastic are "ancestral" and "lcm".
COLUMNS: Mapping[str, tuple[str, str | None]] = {
    "ddim": ("sd15-ddim", None),
    "ancestral": ("sd15-ddim", "EulerAncestralDiscreteScheduler"),
    "sdxl": ("sdxl", None),
    "lcm": ("lcm", None),
    "sd3": ("sd3", None),
    "dev": ("flux-dev", None),
    "schnell": ("flux-schnell", None),
}
# The others are run with the slow tests.
QUICK = ("ddim",)
SIZE = (8, 8)
BASE: Mapping[str, Any] = {"num_steps": 2, "renoising": Renoising(1)}


@dataclass(frozen=True)
class Once:
    """A solver of one pass, beside the paper's iteration."""

    max_passes: int = 1

    def solve(self, problem: Any) -> Any:
        return Renoising(0).solve(problem)


@dataclass(frozen=True)
class Halves:
    """An edit rule that does something else than sampling."""

    max_passes: int = 1

    def advance(self, at: EditStep) -> Tensor:
        return 0.5 * at.step.apply(at.z, at.predict(at.z), at.noise)


def once() -> Solver:
    return Once()


@cache
def editor_of(column: str) -> Editor:
    name, sampler = COLUMNS[column]
    editor = Editor(BUILDERS[name]())
    return editor if sampler is None else editor.with_scheduler(sampler)


def embeds(editor: Editor, *, prefix: str = "") -> dict[str, Tensor]:
    """Return random embeddings that fit the model."""
    widths = editor.model.backbone.text_widths
    assert widths is not None
    assert widths[0] is not None
    draw = torch.Generator().manual_seed(3)
    made = {f"{prefix}prompt_embeds": torch.randn(1, 9, widths[0], generator=draw)}
    if widths[1] is not None:
        made[f"{prefix}pooled_prompt_embeds"] = torch.randn(1, widths[1], generator=draw)
    return made


Options = Mapping[str, Any] | Callable[[Editor], Mapping[str, Any]]


def guided(editor: Editor) -> dict[str, Any]:
    """Return the settings with which negative prompts count."""
    return {"true_cfg_scale": 3.0} if editor.model.backbone.takes_true_cfg else {"guidance_scale": 3.0}


FORWARD: Mapping[str, Any] = {"walk": Walk()}
PARTS: Mapping[str, Any] = {"solver": FixedPoint(), "renoising": InversionConfig().renoising}

# What is set in InversionConfig: its name, the settings beside it, itself, and the columns of COLUMNS in order.
SETTINGS: list[tuple[str, Options, Options, str]] = [
    ("num_steps", {}, {"num_steps": 3}, "ee e e e ee"),
    ("strength", {}, {"strength": 0.5}, "ee e e e ee"),
    ("strength that leaves out nothing", {"num_steps": 4}, {"strength": 0.9}, "ee e e w ww"),
    ("guidance_scale", {}, {"guidance_scale": 3.0}, "ee e e e ew"),
    ("seed", {}, {"seed": 5}, "we w e w ww"),
    ("seed beside edit losses", {"edit_losses": EditLosses()}, {"seed": 5}, "ee e e e ee"),
    ("eta", {}, {"eta": 0.5}, "er e r e ee"),
    ("renoising", {}, {"renoising": Renoising(3)}, "ee e e e ee"),
    ("renoising of averages", {}, {"renoising": Renoising(1, average=(0, 2))}, "ee e e e ee"),
    ("renoising_low_noise", {}, {"renoising_low_noise": Renoising(0), "low_noise_below": 800}, "ee e e e ee"),
    ("low_noise_below alone", {}, {"low_noise_below": 800}, "ww w w w ww"),
    ("edit_losses", {}, {"edit_losses": EditLosses()}, "ee e e e ee"),
    ("edit_losses without iterations", {"renoising": Renoising(0)}, {"edit_losses": EditLosses()}, "ee e e e ee"),
    ("edit_losses of weight 0", {}, {"edit_losses": EditLosses(pair=0.0, patch_kl=0.0)}, "ww w w w ww"),
    ("noise_correction", {}, {"noise_correction": NoiseCorrection(0.7)}, "we w e w ww"),
    ("true_cfg_scale", {}, {"true_cfg_scale": 3.0}, "rr r r r ee"),
    ("true_cfg_scale below 1", {}, {"true_cfg_scale": 0.5}, "rr r r r ww"),
    ("solver", {}, {"solver": once(), "renoising": InversionConfig().renoising}, "ee e e e ee"),
    ("renoising beside a solver", {"solver": once()}, {"renoising": Renoising(4)}, "ww w w w ww"),
    ("renoising_low_noise beside a solver", {"solver": once()}, {"renoising_low_noise": Renoising(3)}, "ww w w w ww"),
    ("solver of parts", PARTS, {"solver": FixedPoint(update=Anderson(2))}, "ee e e e ee"),
    ("start of a solver", PARTS, {"solver": FixedPoint(Extrapolated(1))}, "ee e e e ee"),
    ("edit_losses beside a solver", PARTS, {"edit_losses": EditLosses()}, "ee e e e ee"),
    ("walk forward", {"num_steps": 3}, {"walk": Walk(together=2)}, "we w e w ww"),
    ("walk of the paper", {}, {"walk": Walk(forward=False)}, "ww w w w ww"),
    ("walk in blocks", {**FORWARD, "num_steps": 4}, {"walk": Walk(block=3, span=1.0)}, "ew e w e ee"),
    ("block with guidance", lambda e: {**guided(e), **FORWARD}, {"walk": Walk(block=3)}, "ww w w w ww"),
    ("span of single steps", FORWARD, {"walk": Walk(span=0.5)}, "ww w w w ww"),
    ("together of one", FORWARD, {"walk": Walk(together=2)}, "ww w w w ww"),
    ("noise_correction on a walk forward", FORWARD, {"noise_correction": NoiseCorrection(0.7)}, "we w e w ww"),
    ("noise_correction all the way there", FORWARD, {"noise_correction": NoiseCorrection()}, "ww w w w ww"),
    ("edit_losses on a walk forward", FORWARD, {"edit_losses": EditLosses()}, "ee e e e ee"),
    ("timesteps", {}, {"timesteps": [799, 99]}, "rr e e e ee"),
    ("sigmas", {}, {"sigmas": [0.9, 0.3]}, "rr e r e ee"),
    ("clip_skip", {}, {"clip_skip": 1}, "ee e e e rr"),
    ("guidance_rescale", {}, {"guidance_rescale": 0.7}, "ww w w r rr"),
    ("guidance_rescale with guidance", guided, {"guidance_rescale": 0.7}, "ee e w r rr"),
]


def _losses(editor: Editor) -> Any:
    return {"config": InversionConfig(**BASE, edit_losses=EditLosses())}


def noise_for(editor: Editor) -> Mapping[str, Any]:
    z_0 = start(editor, 1, SIZE)
    return {"noise": torch.randn(2, *z_0.shape, generator=torch.Generator().manual_seed(8))}


ARGUMENTS: list[tuple[str, Options, Options, str]] = [
    ("prompt", {}, {"prompt": "a dog"}, "ee e e e ee"),
    ("negative_prompt", {}, {"negative_prompt": "blurry"}, "ww w w w ww"),
    ("negative_prompt with guidance", lambda e: {"config": of(e, guided)}, {"negative_prompt": "zz"}, "ee e w e ee"),
    ("negative embeddings", {}, lambda e: embeds(e, prefix="negative_"), "ww w w w ww"),
    ("prompt_embeds", {}, embeds, "ee e e e ee"),
    ("clip_skip", {}, {"clip_skip": 1}, "ee e e e rr"),
    ("clip_skip beside embeddings", embeds, {"clip_skip": 1}, "ww w w w rr"),
    ("guidance_rescale", {}, {"guidance_rescale": 0.7}, "ww w w r rr"),
    ("fit of what is encoded", {}, {"fit": "pad"}, "ww w w w ww"),
    ("generator", {}, lambda e: {"generator": torch.Generator().manual_seed(5)}, "we w e w ww"),
    (
        "generator beside edit losses",
        _losses,
        lambda e: {"generator": torch.Generator().manual_seed(5)},
        "ee e e e ee",
    ),
    ("generator beside noise", noise_for, lambda e: {"generator": torch.Generator().manual_seed(5)}, "ww w w w ww"),
    ("noise", {}, noise_for, "we w e w ww"),
    ("ip_adapter_image_embeds", {}, {"ip_adapter_image_embeds": [torch.zeros(2, 1, 8)]}, "rr r r r rr"),
]

EDITS: list[tuple[str, Options, Options, str]] = [
    ("guidance_scale", {}, {"guidance_scale": 3.0}, "ee e e e ew"),
    ("negative_prompt", {}, {"negative_prompt": "blurry"}, "ww w w w ww"),
    ("negative_prompt with guidance", guided, {"negative_prompt": "blurry"}, "ee e w e ee"),
    ("negative embeddings", {}, lambda e: embeds(e, prefix="negative_"), "ww w w w ww"),
    ("num_steps", {}, {"num_steps": 3}, "ee e e e ee"),
    ("true_cfg_scale", {}, {"true_cfg_scale": 3.0}, "rr r r r ee"),
    ("true_cfg_scale below 1", {}, {"true_cfg_scale": 0.5}, "rr r r r ww"),
    ("rule", {}, {"rule": Halves()}, "ee e e e ee"),
    ("strength", {}, {"strength": 0.6}, "rr r r r rr"),
    ("keep", {}, {"keep": "auto"}, "rr r r r rr"),
    ("mask", {}, {"mask": torch.eye(16)}, "rr r r r rr"),
    ("mask beside a rule", {"rule": Halves()}, {"mask": torch.eye(16)}, "rr r r r rr"),
    ("prompt_embeds", {}, lambda e: {"prompt": None, **embeds(e)}, "ee e e e ee"),
    ("clip_skip", {}, {"clip_skip": 1}, "ee e e e rr"),
    ("clip_skip beside embeddings", lambda e: {"prompt": None, **embeds(e)}, {"clip_skip": 1}, "ww w w w rr"),
    ("guidance_rescale", {}, {"guidance_rescale": 0.7}, "ww w w r rr"),
    ("guidance_rescale with guidance", guided, {"guidance_rescale": 0.7}, "ee e w r rr"),
    ("ip_adapter_image_embeds", {}, {"ip_adapter_image_embeds": [torch.zeros(2, 1, 8)]}, "rr r r r rr"),
]


# The same of an inversion that was kept for edits.
KEPT_EDITS: list[tuple[str, Options, Options, str]] = [
    ("strength", {}, {"strength": 0.6}, "ee e e e ee"),
    ("strength beside a rule", {"rule": Halves()}, {"strength": 0.6}, "rr r r r rr"),
    ("keep", {}, {"keep": "nothing"}, "ee e e e ee"),
    ("keep beside a rule", {"rule": Halves()}, {"keep": "auto"}, "rr r r r rr"),
    ("mask", {}, {"mask": torch.eye(16)}, "ee e e e ee"),
    ("mask as keep", {}, {"keep": torch.eye(16)}, "ee e e e ee"),
    ("mask beside a rule", {"rule": Halves()}, {"mask": torch.eye(16)}, "ee e e e ee"),
    ("num_steps beside a mask", {"mask": torch.eye(16)}, {"num_steps": 3}, "rr r r r rr"),
]


def of(editor: Editor, *options: Options) -> InversionConfig:
    values: dict[str, Any] = dict(BASE)
    for one in options:
        values |= one(editor) if callable(one) else one
    return InversionConfig(**values)


def whole(inversion: Inversion) -> Tensor:
    """Return all that a setting could change, as one tensor."""
    noise = torch.zeros(0) if inversion.noise is None else inversion.noise
    return torch.cat([inversion.latents.flatten(), noise.flatten(), inversion.residuals.flatten()])


_PLAIN: dict[tuple[str, str], Tensor] = {}


def outcome(column: str, run: Callable[..., Tensor], beside: Options, option: Options) -> str:
    """Return what an option does: `e`, `r`, `w`, or `-` if it is passed over."""
    key = (f"{column} {run.__qualname__}", str(beside))
    if key not in _PLAIN:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _PLAIN[key] = run(beside)
    before = _PLAIN[key]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            after = run(beside, option)
        except RenoiseError:
            return "r"
    remarked = any(isinstance(one.message, IgnoredSettingWarning) for one in said)
    # Losses of weight 0 leave what rounding leaves.
    same = before.shape == after.shape and torch.allclose(before, after, rtol=1e-4, atol=1e-5)
    if remarked:
        return "w" if same else "?"
    return "-" if same else "e"


def table(rows: list[tuple[str, Options, Options, str]]) -> list[Any]:
    """Return the tests of a table: a column, what stands beside an option, the option, and what it does there."""
    return [
        pytest.param(
            *(column, beside, option, does),
            id=f"{name}-{column}",
            marks=() if column in QUICK else pytest.mark.slow,
        )
        for name, beside, option, columns in rows
        for column, does in zip(COLUMNS, columns.replace(" ", ""), strict=True)
    ]


def values(editor: Editor, *options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in options:
        found |= one(editor) if callable(one) else one
    return found


@pytest.mark.parametrize(("column", "beside", "option", "does"), table(SETTINGS))
def test_a_setting_of_an_inversion(column: str, beside: Options, option: Options, does: str) -> None:
    editor = editor_of(column)
    z_0 = 0.3 * start(editor, 1, SIZE)

    def run(*options: Options) -> Tensor:
        return whole(editor.invert(latents=z_0, prompt="a", config=of(editor, *options)))

    assert outcome(column, run, beside, option) == does


@pytest.mark.parametrize(("column", "beside", "option", "does"), table(ARGUMENTS))
def test_an_argument_of_an_inversion(column: str, beside: Options, option: Options, does: str) -> None:
    editor = editor_of(column)
    z_0 = start(editor, 1, SIZE)

    def run(*options: Options) -> Tensor:
        return whole(editor.invert(latents=z_0, **{"config": of(editor), **values(editor, *options)}))

    assert outcome(column, run, beside, option) == does


@cache
def inversion_of(column: str, edit_data: str = "none") -> Inversion:
    editor = editor_of(column)
    z_0, direct = 0.3 * start(editor, 1, SIZE), {"walk": Walk(direct=True)}
    config = of(editor, {} if edit_data == "none" else direct)
    return editor.invert(latents=z_0, prompt="a", config=config, edit_data=edit_data)


@pytest.mark.parametrize(("column", "beside", "option", "does"), table(EDITS))
def test_an_argument_of_an_edit(column: str, beside: Options, option: Options, does: str) -> None:
    editor = editor_of(column)

    def run(*options: Options) -> Tensor:
        asked = {"prompt": "b", "guidance_scale": 1.0, **values(editor, *options)}
        drawn: Tensor = editor.edit(inversion_of(column), **asked, output_type="latent")
        return drawn

    assert outcome(column, run, beside, option) == does


@pytest.mark.parametrize(("column", "beside", "option", "does"), table(KEPT_EDITS))
def test_an_argument_of_an_edit_that_knows_its_source(column: str, beside: Options, option: Options, does: str) -> None:
    editor = editor_of(column)

    def run(*options: Options) -> Tensor:
        asked = {"prompt": "b", "guidance_scale": 1.0, **values(editor, *options)}
        drawn: Tensor = editor.edit(inversion_of(column, "float32"), **asked, output_type="latent")
        return drawn

    assert outcome(column, run, beside, option) == does


@pytest.mark.parametrize("edit_data", ["float32", "float16"])
def test_edit_data_is_what_an_inversion_keeps(edit_data: str) -> None:
    kept = inversion_of("ddim", edit_data)
    alone = kept.alone()
    assert (kept.edit_data, alone.edit_data) == (edit_data, "none")
    assert kept.nbytes > alone.nbytes


def test_a_window_of_averages_outside_of_the_iterations_is_refused() -> None:
    with pytest.raises(ConfigError, match="average"):
        Renoising(2, average=(7, 10))


def test_the_length_of_moves_counts_for_moves_alone() -> None:
    editor = editor_of("ancestral")

    def run(correction: NoiseCorrection) -> Tensor:
        config = of(editor, {"noise_correction": correction})
        return whole(editor.invert(latents=start(editor, 1), config=config))

    with pytest.warns(IgnoredSettingWarning, match="move_length has no effect without moves"):
        run(NoiseCorrection(0.9, move_length=3.0))
    assert not torch.equal(run(NoiseCorrection(moves=2)), run(NoiseCorrection(moves=2, move_length=3.0)))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"edit_losses": EditLosses()}, "edit_losses have no effect: no step has a latent to solve for"),
        ({"renoising": Renoising(3)}, "renoising has no effect: no step has a latent to solve for"),
        ({"solver": FixedPoint()}, "solver has no effect: no step has a latent to solve for"),
    ],
)
def test_where_all_latents_are_drawn_nothing_is_solved_for(option: dict[str, Any], message: str) -> None:
    editor = editor_of("ddim")
    assert not editor.pipe.scheduler.config.set_alpha_to_one

    def run(*options: Options) -> Tensor:
        return whole(editor.invert(latents=start(editor, 1, SIZE), config=of(editor, FORWARD, {"eta": 1.0}, *options)))

    with pytest.warns(IgnoredSettingWarning, match=message):
        assert torch.equal(run(option), run())


def test_presets_are_remarked_on_nowhere() -> None:
    for column in COLUMNS:
        editor = editor_of(column)
        with warnings.catch_warnings():
            warnings.simplefilter("error", IgnoredSettingWarning)
            editor.invert(latents=start(editor, 1, SIZE), prompt="a", config=editor.config(num_steps=1))


def test_a_list_as_lists_of_a_flow_are_read_as_they_are() -> None:
    editor = editor_of("sd3")
    with pytest.warns(UserWarning, match="shifts its noise levels away from the given timesteps; give sigmas instead"):
        editor.invert(latents=start(editor, 1), config=of(editor, {"timesteps": [800, 100]}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nonsense": 3}, "nonsense is no option of loading this model: it has no effect"),
        ({"config": "folder"}, "config is for single files: it has no effect"),
        ({"num_steps": 4}, "num_steps is no option"),
    ],
)
def test_an_option_of_loading_that_is_passed_over(data: Path, options: dict[str, Any], message: str) -> None:
    with pytest.warns(IgnoredSettingWarning, match=message) as said:
        Editor.from_pretrained(data / "tiny-sd", device="cpu", **options)
    assert said[0].filename == __file__


@pytest.mark.parametrize(
    "options",
    [
        {"local_files_only": True, "use_safetensors": True, "low_cpu_mem_usage": True},
        {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
        {"dtype": "bfloat16", "sampler": "euler", "lora": None, "spacing": None},
        {"sampler": "euler", "spacing": "trailing"},
    ],
)
def test_other_options_of_loading_are_not_remarked_on(data: Path, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", IgnoredSettingWarning)
        Editor.from_pretrained(data / "tiny-sd", device="cpu", **options)
