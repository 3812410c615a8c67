"""`renoise models`: well-known models, which of them are here, and what suits them; without torch, to be quick."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from renoise.backbones import PipelineBackbone, families_by_name
from renoise.cli import models_text as text
from renoise.cli import report
from renoise.config import presets
from renoise.errors import ModelError
from renoise.loading import catalogue
from renoise.loading.catalogue import MODELS, Entry
from renoise.loading.downloads import Cache, Cached, Presence, bundled
from renoise.measured import MEASURED
from renoise.named_presets import NAMED
from renoise.schedulers.names import SAMPLERS


def models(name: str | None, *, json: bool) -> str:
    """List the models, or say all about one.

    Args:
        name: the name of one model; its last part is enough. None lists all.
        json: whether to answer with a JSON document.

    Raises:
        ModelError: if there is no model by that name.
    """
    cache = Cache()
    here = {entry.name: bundled(entry) if entry.bundled else cache.presence(entry) for entry in MODELS}
    others = cache.others(tuple(here))
    if name is None:
        return report.as_json(_document(cache, here, others)) if json else text.listing(here, others)
    full = _resolve(name, others)
    entry = catalogue.find(full)
    if entry is None:
        other = next(other for other in others if other.name == full)
        return report.as_json(_head(model=_other_facts(other))) if json else text.about_other(other)
    return report.as_json(_head(model=_facts(entry, here[full]))) if json else text.about(entry, here[full])


def _resolve(name: str, others: tuple[Cached, ...]) -> str:
    try:
        return catalogue.resolve(name, tuple(other.name for other in others))
    except ModelError as error:
        remedy = error.remedy or "run renoise models for the list"
        raise ModelError(*error.problem, remedy=remedy) from error


def _head(**content: Any) -> dict[str, Any]:
    from renoise import __version__

    return {"command": "models", "version": __version__, **content}


def _document(cache: Cache, here: dict[str, Presence], others: tuple[Cached, ...]) -> dict[str, Any]:
    return _head(
        cache=str(cache.folder),
        models=[_facts(entry, here[entry.name]) for entry in MODELS],
        others=[_other_facts(other) for other in others],
        presets={preset: config.to_record() for preset, config in presets.items()},
        named_presets={name: asdict(preset) for name, preset in NAMED.items()},
        measured=[asdict(one) for one in MEASURED],
        families={name: _family_facts(family) for name, family in families_by_name().items()},
        samplers=dict(SAMPLERS),
    )


def _facts(entry: Entry, presence: Presence) -> dict[str, Any]:
    facts = {"kind" if key == "holds" else key: value for key, value in asdict(entry).items()}
    sizes = {dtype: round(entry.weights.gigabytes(dtype), 4) for dtype in catalogue.BYTES}
    facts["weights"] |= {"unit": "billion", "gigabytes": sizes}
    return {**facts, "steps": entry.num_steps, "page": entry.page, **_where(presence)}


def _family_facts(family: type[PipelineBackbone]) -> dict[str, Any]:
    facts = {key: getattr(family, key) for key in ("name", "title", "pipelines", "samplers")}
    return {**facts, "dtype": family.precision}


def _other_facts(other: Cached) -> dict[str, Any]:
    family = None if other.family is None else other.family.name
    return {"name": other.name, "pipeline": other.pipeline, "family": family, **_where(other.presence)}


def _where(presence: Presence) -> dict[str, Any]:
    return {
        "here": presence.state,
        "folder": None if presence.folder is None else str(presence.folder),
        "missing": list(presence.missing),
        "bytes": presence.size,
    }
