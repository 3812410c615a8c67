"""The list of models and all about one, as text of 80 columns; names and lines to run are never broken."""

from __future__ import annotations

import io
from collections.abc import Mapping

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from renoise.backbones import families_by_name
from renoise.config import DEFAULT_VARIANT, InversionConfig, presets
from renoise.escaping import shown
from renoise.loading import catalogue
from renoise.loading.catalogue import MODELS, PRESET_SAMPLERS, Entry
from renoise.loading.downloads import Cached, Presence
from renoise.loading.hub import CONFIGURATION
from renoise.measured import MEASURED
from renoise.named_presets import NAMED

_WIDTH = 80
_CARD = "see its card"
# The files of a download, without the copies of the same weights for other programs.
_WANTED = " ".join(f'--include "{pattern}"' for pattern in (*CONFIGURATION, "*/*.safetensors"))
_WEIGHTS_ALONE = "memory for the weights alone; a run needs more"
_HOLDS = {"pipeline": "a pipeline", "adapter": "an adapter (LoRA)", "network": "a network alone"}
_GATED = {True: "yes", False: "no", None: "card"}
_HERE = {"here": "yes", "partly": "partly", "damaged": "damaged", "no": "no"}


def _plain(content: Table | str) -> str:
    """Lay text or a table out in 80 columns, or in more where a name would not fit: names are there to be copied."""
    console = Console(file=io.StringIO(), color_system=None, markup=False, emoji=False, highlight=False, width=1000)
    width = max(_WIDTH, Measurement.get(console, console.options, content).minimum)
    with console.capture() as captured:
        console.print(content, width=width)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _columns(*headers: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """Return a table without lines; columns in `right` are flush right, and those in `whole` are not wrapped."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", no_wrap=header in whole)
    return table


def listing(here: dict[str, Presence], others: tuple[Cached, ...]) -> str:
    """Return the list of models, presets and families.

    Args:
        here: the state of each model of the catalogue on this machine.
        others: other pipelines in the cache of the model hub.
    """
    parts = [_models(here), _others(others), _own_presets(), _named_presets(), _presets(), _families()]
    return "\n\n".join([*filter(None, parts), "renoise models NAME says more about one, with the lines to run."])


def _models(here: dict[str, Presence]) -> str:
    table = _columns("model", "GB", "gated", "here", right=("GB",), whole=("model",))
    for entry in MODELS:
        holds = {"pipeline": "", "adapter": "adapter; ", "network": "network alone; "}[entry.holds]
        memory = entry.weights.gigabytes("float16")
        table.add_row(
            f"{entry.name}\n    {holds}{entry.licence or f'licence: {_CARD}'}\n    {_steps(entry)}",
            f"{memory:.2g}" if memory < 1 else f"{memory:.1f}",
            _GATED[entry.gated],
            _HERE[here[entry.name].state],
        )
    note = (
        f"GB: {_WEIGHTS_ALONE}. In 16 bits; in 32 it is twice as much. Adapters come on top of their base. A model has "
        "its preset by itself; where it says --preset, give that."
    )
    return f"{_plain(table)}\n{_plain(note)}"


def _steps(entry: Entry) -> str:
    preset = f"preset {entry.preset}" if entry.named is None else f"--preset {entry.named}"
    return f"{entry.family}, {preset}, {entry.num_steps} steps"


def _others(others: tuple[Cached, ...]) -> str:
    if not others:
        return ""
    lines = ["other pipelines in the cache of the model hub"]
    for other in others:
        if other.presence.state == "damaged":
            lines.append(f"{shown(other.name)}: {_state(other.presence)}")
            continue
        family = "not supported" if other.family is None else other.family.name
        partly = ", partly here" if other.presence.state == "partly" else ""
        lines.append(f"{shown(other.name)}: {family} ({shown(other.pipeline)}){partly}")
    return "\n".join(lines)


def _own_presets() -> str:
    """Tell what the choices for --preset cost and give, as measured on the bundled models."""
    table = _columns(
        "--preset", "models", "passes", "at most", "PSNR", "5 %", right=("passes", "at most", "PSNR", "5 %")
    )
    for one in MEASURED:
        name = f"{one.preset} (the default)" if one.preset == DEFAULT_VARIANT else one.preset
        numbers = (f"{one.passes:.0f}", f"{one.most_passes}", f"{one.psnr:.1f}", f"{one.psnr_low:.1f}")
        table.add_row(name, f"{one.kind}, {one.steps} steps", *numbers)
    note = (
        "Passes: network passes of an inversion. PSNR: of the reconstruction from the noise alone against the "
        "autoencoder's round trip in dB, mean and 5th percentile, measured on the bundled models; docs/performance.md "
        "says how. Edits by the preset edit start from the image itself, because what the noise misses is kept beside "
        "it. released and reverse are presets as well."
    )
    return f"{_plain(table)}\n{_plain(note)}"


def _named_presets() -> str:
    """Tell the models of a few steps that --preset can name."""
    table = _columns("--preset", "models", "how it is sampled", whole=("--preset",))
    for preset in NAMED.values():
        table.add_row(preset.name, ", ".join(preset.families), preset.described)
    note = (
        "Models of a few steps whose files look like those of their base: name what yours is, alone or with one of the "
        "above, such as --preset sdxl-lightning-4:exact. A LoRA whose title or file name says it needs none; a line "
        "tells what was assumed."
    )
    return f"{_plain(table)}\n{_plain(note)}"


def _presets() -> str:
    table = _columns("paper", "sampler", "steps", "renoising", "network passes", right=("steps",))
    for name, sampler in PRESET_SAMPLERS.items():
        config = presets[name]
        low = config.renoising_low_noise
        renoising = f"{config.renoising.iterations}"
        if low is not None and low.iterations != config.renoising.iterations:
            renoising += f", {low.iterations} at low noise"
        table.add_row(name, sampler, f"{config.num_steps}", renoising, _passes(config))
    return f"{_plain(table)}\nNetwork passes are those of an inversion without guidance, which doubles them."


def _passes(config: InversionConfig) -> str:
    """Tell what an inversion costs: how many steps are at low noise, and add noise, depends on the sampler."""
    costs = {config.passes_at(t, stochastic=s) for t in (0.0, config.low_noise_below) for s in (False, True)}
    most = config.num_steps * max(costs)
    return f"{most}" if len(costs) == 1 else f"at most {most}"


def _families() -> str:
    table = _columns("family", "what it is, its pipelines in diffusers, and its samplers")
    for name, family in families_by_name().items():
        table.add_row(name, "\n".join([family.title, ", ".join(family.pipelines), ", ".join(family.samplers)]))
    return _plain(table)


def about_other(other: Cached) -> str:
    """Return the facts about a pipeline in the cache that is not in the catalogue."""
    rows = {
        "pipeline": None if other.pipeline is None else shown(other.pipeline),
        "family": "not supported" if other.family is None else other.family.title,
        "here": _state(other.presence),
    }
    return f"{shown(other.name)}: in the cache of the model hub, not in the catalogue\n{_rows(rows)}"


def about(entry: Entry, presence: Presence) -> str:
    """Return all facts about a model of the catalogue, with the lines to run."""
    weights = entry.weights
    parts = {"network": weights.network, "text encoders": weights.text_encoders, "autoencoder": weights.autoencoder}
    counted = ", ".join(f"{name} {_number(count)}" for name, count in parts.items() if count)
    usual = presets[entry.preset].num_steps if entry.named is None else entry.num_steps
    instead = f" in place of {usual}" if entry.num_steps != usual else ""
    rows = {
        "what": entry.title,
        "holds": _HOLDS[entry.holds],
        "goes with": entry.base,
        "family": families_by_name()[entry.family].title,
        "preset": f"{entry.named or entry.preset}, {entry.num_steps} steps{instead}",
        "sampled": None if entry.named is None else NAMED[entry.named].described,
        "images": _CARD if entry.side is None else f"{entry.side} x {entry.side}",
        "weights": f"{_number(weights.total)} ({counted})",
        "needs": f"{_size(entry, 'float16')} in float16 or bfloat16, {_size(entry, 'float32')} in float32 "
        f"({_WEIGHTS_ALONE})",
        "dtype": f"{entry.dtype} on a GPU",
        "licence": entry.licence or _CARD,
        "gated": {True: "yes: it needs a login and consent to its licence", False: "no", None: _CARD}[entry.gated],
        "here": _state(presence),
        "card": entry.page,
        "note": entry.note,
    }
    return "\n".join([entry.name, _rows(rows), "", *_to_run(entry, presence)])


def _number(billions: float) -> str:
    return f"{billions:.3g} billion" if billions >= 1 else f"{1000 * billions:.3g} million"


def _size(entry: Entry, dtype: str) -> str:
    size = entry.weights.gigabytes(dtype)
    return f"{size:.1f} GB" if size >= 1 else f"{1000 * size:.0f} MB"


def _state(presence: Presence) -> str:
    if presence.state == "no":
        return "no"
    if presence.state == "damaged":
        return f"damaged: {', '.join(presence.missing)}"
    if presence.state == "partly":
        return f"partly: {', '.join(presence.missing)} missing"
    return f"{presence.folder}" + ("" if presence.size is None else f" ({presence.size / 1e9:.2g} GB)")


def _rows(rows: Mapping[str, str | None]) -> str:
    """Lay out the facts that there are, each with its name."""
    present = {name: value for name, value in rows.items() if value}
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=max(map(len, present)))
    table.add_column()
    for name, value in present.items():
        table.add_row(name, value)
    return _plain(table)


def _to_run(entry: Entry, presence: Presence) -> list[str]:
    """Return the lines to run; none is broken, because they are to be copied."""
    needed = [name for name in (entry.base, entry.name) if name is not None and not entry.bundled]
    lines = []
    gated = [other.page for name in needed if (other := catalogue.find(name)) is not None and other.gated]
    if gated:
        lines += [f"# first accept the licence on {' and '.join(filter(None, gated))}, then:", "hf auth login"]
    if needed and presence.state != "here":
        lines += ["# the first run downloads what it needs; or beforehand, for use without a network:"]
        lines += [f"hf download {name}{_files(name)}" for name in needed]
    if entry.file is not None:
        lines[-1:] = ["# of this repository you need one file:", f"hf download {entry.name} {entry.file} --local-dir ."]
    if entry.holds == "network":
        return [*lines, *_in_python(entry)]
    model = entry.name if entry.base is None or entry.bundled else f"{entry.base} --lora {_lora(entry)}"
    options = [f"--model {model}"]
    options += [] if entry.sampler is None or entry.named is not None else [f"--sampler {entry.sampler}"]
    options += [] if entry.named is None else [f"--preset {entry.named}"]
    options += [] if entry.steps is None else [f"--steps {entry.steps}"]
    options += ["--dtype bfloat16"] if entry.dtype == "bfloat16" else []
    return [*lines, f'renoise edit in.jpg {" ".join(options)} --prompt "a cat" --to "a dog" -o out.png']


def _lora(entry: Entry) -> str:
    """Return how a LoRA is asked for: by its name or its file, with the strength that it is made for."""
    strength = None if entry.named is None else NAMED[entry.named].strength
    return f"{entry.file or entry.name}" + ("" if strength is None else f":{strength:g}")


def _files(name: str) -> str:
    entry = catalogue.find(name)
    return "" if entry is not None and entry.holds != "pipeline" else f" {_WANTED}"


def _in_python(entry: Entry) -> list[str]:
    return [
        "# in Python:",
        "import diffusers, renoise, torch",
        f'unet = diffusers.UNet2DConditionModel.from_pretrained("{entry.name}", dtype=torch.{entry.dtype})',
        f'editor = renoise.Editor.from_pretrained("{entry.base}", unet=unet, sampler="{entry.sampler}")',
    ]
