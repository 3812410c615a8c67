"""Solvers of the implicit equation that one inverted sampler step poses, as values that are put together.

A solver is a frozen dataclass with a method `solve`, and `InversionConfig.solver` holds it. It runs the network by
`Problem.evaluate`, where every pass is counted, and returns a `Solution`. `Renoising` is the paper's iteration.
`FixedPoint` puts an iteration together from a start, an update and a stop, and `Persistent` solves again what does not
converge. docs/extending.md adds another one.

The package loads no torch, so that settings can be made and listed without it.
"""

from renoise.solvers.fixed_point import FixedPoint
from renoise.solvers.known import Accepted, Known
from renoise.solvers.persistent import Persistent
from renoise.solvers.problem import CONVERGED, Evaluation, Problem, Refine, Solution, Solver, require_solver
from renoise.solvers.records import SOLVERS, solver_from, solver_record
from renoise.solvers.renoising import Renoising
from renoise.solvers.starts import CleanerLatent, Extrapolated, LastEstimate, NoisedImage, Start
from renoise.solvers.stops import Passes, Residual, Stop
from renoise.solvers.updates import Anderson, Damped, Update

__all__ = [
    "CONVERGED",
    "SOLVERS",
    "Accepted",
    "Anderson",
    "CleanerLatent",
    "Damped",
    "Evaluation",
    "Extrapolated",
    "FixedPoint",
    "Known",
    "LastEstimate",
    "NoisedImage",
    "Passes",
    "Persistent",
    "Problem",
    "Refine",
    "Renoising",
    "Residual",
    "Solution",
    "Solver",
    "Start",
    "Stop",
    "Update",
    "require_solver",
    "solver_from",
    "solver_record",
]
