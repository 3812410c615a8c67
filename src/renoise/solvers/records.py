"""Solvers as JSON-able data, by the names that records of inversions give them and their parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from renoise.errors import ConfigError, RenoiseError
from renoise.solvers.fixed_point import FixedPoint
from renoise.solvers.persistent import Persistent
from renoise.solvers.problem import Solver
from renoise.solvers.renoising import Renoising
from renoise.solvers.starts import CleanerLatent, Extrapolated, LastEstimate, NoisedImage
from renoise.solvers.stops import Passes, Residual
from renoise.solvers.updates import Anderson, Damped

# Solvers and the parts that they are put together from, by the names that records give them. Others may add to it
# (docs/extending.md).
SOLVERS: dict[str, type[Any]] = {
    "renoising": Renoising,
    "fixed_point": FixedPoint,
    "persistent": Persistent,
    "cleaner_latent": CleanerLatent,
    "noised_image": NoisedImage,
    "extrapolated": Extrapolated,
    "last_estimate": LastEstimate,
    "damped": Damped,
    "anderson": Anderson,
    "passes": Passes,
    "residual": Residual,
}
# A record of a solver that is put together from more parts than this, one within the other, is nobody's.
_DEEPEST = 8


def solver_record(solver: Solver) -> dict[str, Any]:
    """Return a solver as JSON-able data, from which `solver_from` makes an equal one.

    Raises:
        ConfigError: if its class or that of one of its parts is not in `SOLVERS`, so that nobody could read the record.
    """
    record = _recorded(solver)
    if isinstance(record, dict):
        return record
    raise ConfigError(
        f"the solver {type(solver).__name__} is no dataclass, whose fields could be recorded", argument="solver"
    )


def _recorded(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_recorded(each) for each in value]
    name = next((name for name, known in SOLVERS.items() if type(value) is known), None)
    if name is None and not is_dataclass(value) and not isinstance(value, Solver):
        return value
    if name is None:
        raise ConfigError(
            f"the solver {type(value).__name__} has no name in records",
            argument="solver",
            remedy=f'name it: renoise.solvers.SOLVERS["{type(value).__name__}"] = {type(value).__name__}',
        )
    if not is_dataclass(value):
        raise ConfigError(f"the solver {name!r} is no dataclass, whose fields could be recorded", argument="solver")
    return {"name": name, **{field.name: _recorded(getattr(value, field.name)) for field in fields(value)}}


def solver_from(record: Any) -> Solver:
    """Return the solver that `solver_record` recorded.

    Raises:
        ConfigError: if the record names none that is known, or its settings do not fit it.
    """
    solver = _made(record, _DEEPEST) if isinstance(record, Mapping) else None
    if isinstance(solver, Solver):
        return solver
    raise _unknown(record.get("name") if isinstance(record, Mapping) else None)


def _made(record: Any, depth: int) -> Any:
    if isinstance(record, (list, tuple)):
        if depth < 0:
            raise _unknown(None)
        return tuple(_made(each, depth - 1) for each in record)
    if not isinstance(record, Mapping):
        return record
    name = record.get("name")
    if not isinstance(name, str) or name not in SOLVERS or depth < 0:
        raise _unknown(name)
    settings = {key: _made(value, depth - 1) for key, value in record.items() if key != "name"}
    try:
        return SOLVERS[name](**settings)
    except RenoiseError:
        raise
    except Exception as error:  # solvers of others check their settings as they like
        raise ConfigError(f"the settings of the solver {name!r} do not fit it ({error})", argument="solver") from error


def _unknown(name: Any) -> ConfigError:
    return ConfigError(
        f"the solver {str(name)[:80]!r} is unknown",
        argument="solver",
        remedy="add its class to renoise.solvers.SOLVERS by this name, or invert the image again",
    )
