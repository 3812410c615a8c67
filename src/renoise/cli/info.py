"""What an inversion file holds, read without the model that made it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from renoise.cli import options as o
from renoise.cli import report
from renoise.cli.tables import two_columns
from renoise.escaping import shown
from renoise.reading import require_file
from renoise.schedulers.names import TITLES, kind_of
from renoise.solvers import CONVERGED

if TYPE_CHECKING:
    from renoise.inversion import Inversion


# What stands where embeddings were inverted with, of which nobody can tell the words.
_IN_PLACE = "none: embeddings came in its place"
# The parts of an inversion that are there for edits.
_EDIT_DATA = ("trajectory", "offsets", "images")
# Settings that are told where they were given.
_SELDOM = ("clip_skip", "guidance_rescale", "timesteps", "sigmas")


def info(source: o.InversionFile, reporting: o.Describing) -> str:
    """Return what an inversion file holds, as lines or as a JSON document: `renoise info`."""
    from renoise.inversion import Inversion

    facts = _facts(source, Inversion.load(source))
    return report.as_json(facts) if reporting.json else two_columns(_rows(facts))


def _facts(path: Path, inversion: Inversion) -> dict[str, Any]:
    return {
        "command": "info",
        "source": str(path),
        "file_size": require_file(path).st_size,
        "pictures": inversion.batch_size,
        **report.settings(inversion),
        "original_size": [list(fit.original_size) for fit in inversion.fits],
        "box": [None if fit.box is None else list(fit.box) for fit in inversion.fits],
        "latents": list(inversion.latents.shape),
        "stochastic": inversion.noise is not None,
        "latent_deviation": float(inversion.latents.std()),
        "scheduler": inversion.scheduler.get("class"),
        "prediction": inversion.scheduler.get("config", {}).get("prediction_type"),
        "model": inversion.model_name,
        "model_fingerprint": inversion.fingerprint.get("layout"),
        "inverted_steps": inversion.num_steps,
        "network_passes": inversion.network_passes,
        "residual": report.residual(inversion),
        "residuals": inversion.residuals.tolist(),
        "passes": inversion.passes.tolist(),
        "converged": inversion.converged.tolist(),
        "sizes": inversion.sizes,
    }


def _rows(facts: dict[str, Any]) -> dict[str, str]:
    """Return the facts in words, by what they are called."""
    sizes = ", ".join(f"{width} x {height}" for height, width in facts["original_size"])
    height, width = facts["size"]
    residual = facts["residual"]
    return {
        "file": f"{shown(facts['source'])} ({facts['file_size']:,} bytes)",
        "prompt": _IN_PLACE if facts["prompt_embeds"] else _text(facts["prompt"]),
        "negative prompt": _negative(facts),
        "image": f"{width} x {height}, from {sizes}" + (f"; {facts['pictures']} of them" * (facts["pictures"] > 1)),
        "fit": _fit(facts["fit"], facts["box"]),
        "model": f"{shown(facts['model'] or 'unnamed')}{_trained(facts)} "
        f"(fingerprint {shown(facts['model_fingerprint'])})",
        "sampler": f"{shown(facts['scheduler'])}, {'with' if facts['stochastic'] else 'without'} noise",
        "steps": f"{facts['inverted_steps']} of {facts['steps']} (depth {facts['depth']:g})",
        **_solving(facts),
        "edit losses": _losses(facts["edit_losses"]),
        "noise correction": _correction(facts["noise_correction"]),
        "guidance": f"{facts['inversion_guidance']:g}",
        **{name.replace("_", " "): _listed(facts[name]) for name in _SELDOM if facts[name]},
        "seed": "none: the caller's generators drew the noises" if facts["seed"] is None else f"{facts['seed']}",
        "network passes": _passes(facts["passes"]),
        "residual": f"largest {residual['max']:.2g}, mean {residual['mean']:.2g}" + _hint(facts, residual["max"]),
        "deviation of z_T": f"{facts['latent_deviation']:.3f}",
        "kept for edits": _kept(facts["edit_data"], facts["sizes"]),
    }


def _kept(edit_data: str, sizes: dict[str, int]) -> str:
    """Return what was kept for edits, and how large its parts are, in words."""
    if edit_data == "none":
        return "nothing: the noise alone"
    parts = ", ".join(f"{name} {sizes[name]:,} bytes" for name in _EDIT_DATA if name in sizes)
    return f"{parts} (latents in {edit_data})"


def _negative(facts: dict[str, Any]) -> str:
    if facts["negative_prompt_embeds"]:
        return _IN_PLACE
    return "the model's own" if facts["negative_prompt"] is None else _text(facts["negative_prompt"])


def _trained(facts: dict[str, Any]) -> str:
    """Return what the network predicts, in words; schedulers of flow models have no setting for it."""
    if facts["prediction"] is not None:
        return f", {shown(facts['prediction'])} prediction"
    kind = kind_of(facts["scheduler"])
    return "" if kind is None else f", {TITLES[kind]}"


def _listed(value: Any) -> str:
    return ", ".join(f"{one:g}" for one in (value if isinstance(value, (list, tuple)) else [value]))


def _solving(facts: dict[str, Any]) -> dict[str, str]:
    """Return the rows that say how each step was solved."""
    if facts.get("walk", {}).get("direct", False):
        return {"walk": "every latent drawn, for one pass a step"}
    if "solver" in facts:
        return {"solver": _solver(facts["solver"]), **_walk(facts.get("walk"))}
    low = facts["renoise_low_noise"]
    renoising = f"{facts['renoise']}" + (f", {low} at low noise" * (low != facts["renoise"]))
    return {"renoising": renoising, **_walk(facts.get("walk"))}


def _solver(record: Any) -> str:
    """Return a solver with its parts and their settings, in words."""
    if isinstance(record, list):
        return f"{len(record)}"
    if not isinstance(record, dict):
        return shown(record)
    settings = ", ".join(f"{name} {_solver(value)}" for name, value in record.items() if name != "name")
    return f"{shown(record.get('name'))} ({settings})" if settings else shown(record.get("name"))


def _walk(walk: dict[str, Any] | None) -> dict[str, str]:
    if walk is None:
        return {}
    noises = "noises solved for" if walk["forward"] else "noises as drawn"
    blocks = f"up to {walk['block']} steps at a time" if walk["block"] > 1 else "step by step"
    return {"walk": f"{noises}, {blocks}"}


def _passes(passes: list[int]) -> str:
    least, most = min(passes), max(passes)
    return f"{most}" if least == most else f"{least} to {most} an image"


def _hint(facts: dict[str, Any], largest: float) -> str:
    if largest <= CONVERGED:
        return ""
    if facts.get("walk", {}).get("direct", False):
        return "; what the steps miss is kept for edits" * ("offsets" in facts.get("sizes", {}))
    return "; the largest is not small" + (": more --renoise would help" * ("solver" not in facts))


def _fit(mode: str, boxes: list[list[int] | None]) -> str:
    sizes = ", ".join(f"{box[3]} x {box[2]}" for box in boxes if box is not None)
    return f"{mode}, in {sizes} of it" if sizes else "none, latents came" if mode == "latents" else mode


def _losses(losses: dict[str, Any] | None) -> str:
    if losses is None:
        return "none"
    released = ", as the published code does" * losses["released_procedure"]
    return f"pair {losses['pair']:g}, patch KL {losses['patch_kl']:g}{released}"


def _correction(correction: dict[str, Any] | None) -> str:
    if correction is None:
        return "none"
    if correction["moves"] is not None:
        return f"{correction['moves']} moves of length {correction['move_length']:g}, as the published code does"
    limit = "" if correction["limit"] is None else f", by at most {correction['limit']:g} in root mean square"
    return f"{correction['amount']:.0%} of the way to the exact noise{limit}"


def _text(prompt: str | list[str]) -> str:
    return ", ".join(f'"{shown(one)}"' for one in ([prompt] if isinstance(prompt, str) else prompt))
