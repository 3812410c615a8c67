"""Solvers as JSON-able data, by the names that records of inversions give them and their parts."""

from __future__ import annotations

from typing import Any

from renoise.named_parts import NamedParts
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


def solver_record(solver: Solver) -> dict[str, Any]:
    """Return a solver as JSON-able data, from which `solver_from` makes an equal one.

    Raises:
        ConfigError: if its class or that of one of its parts is not in `SOLVERS`, so that nobody could read the record.
    """
    return _parts().record(solver)


def solver_from(record: Any) -> Solver:
    """Return the solver that `solver_record` recorded.

    Raises:
        ConfigError: if the record names none that is known, or its settings do not fit it.
    """
    solver: Solver = _parts().made(record)
    return solver


def _parts() -> NamedParts:
    return NamedParts("solver", "solver", SOLVERS, Solver, "renoise.solvers.SOLVERS", "invert the image again")
