"""`renoise models`: well-known models, which of them are here, and what suits them; without torch, to be quick."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from renoise.cli import report
from renoise.loading import catalogue
from renoise.loading.catalogue import FAMILIES, MODELS, PRESET_SAMPLERS, Entry
from renoise.loading.downloads import Cache, Cached, Presence, bundled
from renoise.schedulers.names import SAMPLERS

if TYPE_CHECKING:
    from renoise.config import InversionConfig

_WIDTH = 80
_CARD = "see its card"
# What a download leaves out: copies of the same weights for other programs.
_WANTED = '--include "*.json" --include "*.txt" --include "*.model" --include "*/*.safetensors"'
_WEIGHTS_ALONE = "memory for the weights alone; a run needs more"


def models(name: str | None, *, json: bool) -> str:
    """List the models, or say all about one.

    Args:
        name: of the one; its last part is enough.
        json: one JSON document.

    Raises:
        ModelError: if there is none by that name.
    """
    cache = Cache()
    here = {entry.name: bundled(entry) if entry.bundled else cache.presence(entry) for entry in MODELS}
    others = cache.others(tuple(here))
    if name is not None:
        full = catalogue.resolve(name, tuple(other.name for other in others))
        entry = catalogue.find(full)
        if entry is None:
            other = next(other for other in others if other.name == full)
            return report.as_json(_document({"model": _other_facts(other)})) if json else _about_other(other)
        facts = _facts(entry, here[full])
        return report.as_json(_document({"model": facts})) if json else _about(entry, here[full])
    if json:
        return report.as_json(
            _document(
                {
                    "cache": str(cache.folder),
                    "models": [_facts(entry, here[entry.name]) for entry in MODELS],
                    "others": [_other_facts(other) for other in others],
                    "presets": {preset: asdict(config) for preset, config in _presets().items()},
                    "families": {family.name: asdict(family) for family in FAMILIES.values()},
                    "samplers": dict(SAMPLERS),
                }
            )
        )
    parts = [_table(here), _others(others), _preset_table(), _families()]
    ending = "renoise models NAME says more about one, with the lines to run."
    return "\n\n".join([*filter(None, parts), ending])


def _document(content: dict[str, Any]) -> dict[str, Any]:
    from renoise import __version__

    return {"command": "models", "version": __version__, **content}


def _presets() -> dict[str, InversionConfig]:
    from renoise import presets

    return dict(presets)


def _facts(entry: Entry, presence: Presence) -> dict[str, Any]:
    facts = asdict(entry)
    sizes = {dtype: round(entry.weights.gigabytes(dtype), 4) for dtype in catalogue.BYTES}
    facts["weights"] |= {"unit": "billion", "gigabytes": sizes}
    return {**facts, "steps": entry.num_steps, "page": entry.page, **_where(presence)}


def _other_facts(other: Cached) -> dict[str, Any]:
    return {"name": other.name, "pipeline": other.pipeline, "family": other.family, **_where(other.presence)}


def _where(presence: Presence) -> dict[str, Any]:
    return {
        "here": presence.state,
        "folder": None if presence.folder is None else str(presence.folder),
        "missing": list(presence.missing),
        "bytes": presence.size,
    }


def _table(here: dict[str, Presence]) -> str:
    width = max(len(entry.name) for entry in MODELS)
    lines = [f"{'model':<{width}}  {'family':<6}  {'GB':>6}  {'gated':<5}  here"]
    for entry in MODELS:
        needs = entry.weights.gigabytes("float16")
        size = f"{needs:.2g}" if needs < 1 else f"{needs:.1f}"
        gated = {True: "yes", False: "no", None: "card"}[entry.gated]
        state = {"here": "yes", "partly": "partly", "no": "no"}[here[entry.name].state]
        lines.append(f"{entry.name:<{width}}  {entry.family:<6}  {size:>6}  {gated:<5}  {state}")
        lines.append(f"    {_kind(entry)}{entry.licence or f'licence: {_CARD}'}")
    note = f"GB: {_WEIGHTS_ALONE}. In 16 bits; in 32 it is twice as much. Adapters come on top of their base."
    return "\n".join([*lines, *textwrap.wrap(note, _WIDTH)])


def _kind(entry: Entry) -> str:
    return {"pipeline": "", "adapter": "adapter; ", "network": "network alone; "}[entry.kind]


def _others(others: tuple[Cached, ...]) -> str:
    if not others:
        return ""
    lines = ["other pipelines in the cache of the model hub"]
    for other in others:
        supported = f"{other.family} ({other.pipeline})" if other.family else f"not supported ({other.pipeline})"
        whole = ", partly here" if other.presence.state == "partly" else ""
        lines += textwrap.wrap(f"{other.name}: {supported}{whole}", _WIDTH, subsequent_indent="    ")
    return "\n".join(lines)


def _preset_table() -> str:
    lines = [f"{'preset':<18}  {'sampler':<15}  {'steps':>5}  {'renoising':<18}  network passes"]
    for name, config in _presets().items():
        low = config.renoising_low_noise
        renoising = f"{config.renoising.iterations}"
        if low is not None and low.iterations != config.renoising.iterations:
            renoising += f", {low.iterations} at low noise"
        sampler = PRESET_SAMPLERS.get(name, "the model's own")
        lines.append(f"{name:<18}  {sampler:<15}  {config.num_steps:>5}  {renoising:<18}  {_passes(config)}")
    lines.append("Network passes are those of an inversion without guidance, which doubles them.")
    return "\n".join(lines)


def _passes(config: InversionConfig) -> str:
    """What an inversion costs: how many steps are at low noise, and add noise, depends on the sampler."""
    kinds = {config.passes_at(t, stochastic=s) for t in (0.0, config.low_noise_below) for s in (False, True)}
    most = config.num_steps * max(kinds)
    return f"{most}" if len(kinds) == 1 else f"at most {most}"


def _families() -> str:
    lines = ["family  what it is, its pipelines in diffusers, and its samplers"]
    for family in FAMILIES.values():
        lines.append(f"{family.name:<6}  {family.title}")
        for listed in (family.pipelines, family.samplers):
            lines += textwrap.wrap(", ".join(listed), _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def _about_other(other: Cached) -> str:
    lines = [f"{other.name}: in the cache of the model hub, not in the catalogue"]
    rows = {
        "pipeline": other.pipeline,
        "family": "not supported" if other.family is None else FAMILIES[other.family].title,
        "here": _state(other.presence),
    }
    return "\n".join([*lines, *_rows(rows)])


def _about(entry: Entry, presence: Presence) -> str:
    weights = entry.weights
    parts = {"network": weights.network, "text encoders": weights.text_encoders, "autoencoder": weights.autoencoder}
    counted = ", ".join(f"{name} {_number(count)}" for name, count in parts.items() if count)
    usual = _presets()[entry.preset].num_steps
    instead = f" in place of {usual}" if entry.num_steps != usual else ""
    rows = {
        "what": entry.title,
        "kind": {"pipeline": "a pipeline", "adapter": "an adapter (LoRA)", "network": "a network alone"}[entry.kind],
        **({} if entry.base is None else {"goes with": entry.base}),
        "family": FAMILIES[entry.family].title,
        "preset": f"{entry.preset}, {entry.num_steps} steps{instead}",
        "pictures": _CARD if entry.side is None else f"{entry.side} x {entry.side}",
        "weights": f"{_number(weights.total)} ({counted})",
        "needs": f"{_size(entry, 'float16')} in float16 or bfloat16, {_size(entry, 'float32')} in float32 "
        f"({_WEIGHTS_ALONE})",
        "dtype": f"{entry.dtype} on a GPU",
        "licence": entry.licence or _CARD,
        "gated": {True: "yes: it wants a login and consent to its licence", False: "no", None: _CARD}[entry.gated],
        "here": _state(presence),
        **({} if entry.page is None else {"card": entry.page}),
        **({} if not entry.note else {"note": entry.note}),
    }
    return "\n".join([entry.name, *_rows(rows), "", *_to_run(entry, presence)])


def _number(billions: float) -> str:
    return f"{billions:.3g} billion" if billions >= 1 else f"{1000 * billions:.3g} million"


def _size(entry: Entry, dtype: str) -> str:
    size = entry.weights.gigabytes(dtype)
    return f"{size:.1f} GB" if size >= 1 else f"{1000 * size:.0f} MB"


def _state(presence: Presence) -> str:
    if presence.state == "no":
        return "no"
    size = "" if presence.size is None else f" ({presence.size / 1e9:.2g} GB)"
    if presence.state == "partly":
        return f"partly: {', '.join(presence.missing)} missing"
    return f"{presence.folder}{size}"


def _rows(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows))
    lines: list[str] = []
    for name, value in rows.items():
        # Names and paths are to be copied: they stay whole, however long.
        lines += textwrap.wrap(
            value,
            _WIDTH,
            initial_indent=f"{name:<{width}}  ",
            subsequent_indent=" " * (width + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _to_run(entry: Entry, presence: Presence) -> list[str]:
    """The lines to type, to be copied: none is broken."""
    needed = [name for name in (entry.base, entry.name) if name is not None and not entry.bundled]
    lines = []
    if any(other.gated for name in needed if (other := catalogue.find(name)) is not None):
        lines += [f"# first accept the licence on {entry.page}, then:", "hf auth login"]
    if needed and presence.state != "here":
        lines += ["# the first run downloads what it needs; or beforehand, for use without a network:"]
        lines += [f"hf download {name}{_files(name)}" for name in needed]
    if entry.kind == "network":
        return [*lines, *_in_python(entry)]
    model = entry.name if entry.base is None or entry.bundled else f"{entry.base} --lora {entry.name}"
    options = [f"--model {model}"]
    options += [] if entry.sampler is None else [f"--sampler {entry.sampler}"]
    options += [] if entry.steps is None else [f"--steps {entry.steps}"]
    options += ["--dtype bfloat16"] if entry.dtype == "bfloat16" else []
    return [*lines, f'renoise edit in.jpg {" ".join(options)} --prompt "a cat" --to "a dog" -o out.png']


def _files(name: str) -> str:
    entry = catalogue.find(name)
    return "" if entry is not None and entry.kind != "pipeline" else f" {_WANTED}"


def _in_python(entry: Entry) -> list[str]:
    return [
        "# in Python:",
        "import diffusers, renoise, torch",
        f'unet = diffusers.UNet2DConditionModel.from_pretrained("{entry.name}", dtype=torch.{entry.dtype})',
        f'editor = renoise.Editor.from_pretrained("{entry.base}", unet=unet, sampler="{entry.sampler}")',
    ]
