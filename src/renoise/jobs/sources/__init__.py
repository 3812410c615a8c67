"""Inputs of jobs: which format an input has."""

from __future__ import annotations

from renoise.errors import ConfigError
from renoise.escaping import shown
from renoise.jobs.columns import Columns
from renoise.jobs.places import Place
from renoise.jobs.sources.base import Source
from renoise.jobs.sources.folders import folder
from renoise.jobs.sources.tables import SPLITS, STATE, parquet, saved
from renoise.jobs.sources.tars import shards

__all__ = ["HELDOUT", "Source", "open_source", "place_of"]

# The bundled images that the bundled models were not trained on.
HELDOUT = "mini-heldout"
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def open_source(name: str, columns: Columns) -> Source:
    """Return an input by its name, whatever its format is.

    Args:
        name: `HELDOUT`, an absolute path, or a URL.
        columns: which columns hold what.

    Raises:
        ConfigError: if there is no such input, its format is unknown, or it lacks a column.
    """
    place = Place(place_of(name))
    tables, tars = place.names(".parquet"), place.names(".tar")
    if place.files and place.files[0].path == "":  # a single file
        return _single(place, columns)
    if place.has(STATE) or place.has(SPLITS):
        return saved(place, columns)
    if tables:
        return parquet(place, tables, columns)
    if tars:
        return shards(place, tars, columns)
    return folder(place, columns)


def place_of(name: str) -> str:
    """Return the path of a bundled data set, or the name itself.

    Raises:
        ConfigError: if the bundled data set is not installed.
    """
    if name != HELDOUT:
        return name
    try:
        import renoise_mini
    except ImportError as error:
        problem = f"the images {name!r} are not installed"
        raise ConfigError(problem, argument="source", remedy="run: pip install 'renoise[mini]'") from error
    return str(renoise_mini.path("heldout"))


def _single(place: Place, columns: Columns) -> Source:
    name = place.name.partition("?")[0].lower()
    if name.endswith(".parquet"):
        return parquet(place, [""], columns)
    if name.endswith(".tar"):
        return shards(place, [""], columns)
    packed = "it is packed, and rows are read from the middle of shards: unpack it first"
    raise ConfigError(
        f"{shown(place.name)} is no input that is known",
        argument="source",
        remedy=packed if name.endswith(_PACKED) else "give a .parquet or .tar file, or a folder",
    )
