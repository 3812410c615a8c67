"""The errors and warnings that a user of renoise can meet, as data.

Every error says what was expected, what came and what to do about it. Code that reacts to one sort of failure catches
that class; code that reports any failure catches `RenoiseError`. A message names arguments of the library as `Argument`
values, so that every consumer can phrase them for its reader: Python users read `num_steps=50`, users of the command
read `--steps 50`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from renoise.escaping import shown


@dataclass(frozen=True)
class Argument:
    """An argument of the library, named in a message.

    Attributes:
        name: the argument's name, such as "num_steps".
        value: the value to give for it; None names the argument alone.
        of: whose argument it is, where others have one of the same name; empty where there is one alone.

    Examples:
        >>> str(Argument("num_steps", 50)), str(Argument("fit", "crop")), str(Argument("force"))
        ('num_steps=50', 'fit="crop"', 'force')
    """

    name: str
    value: Any = None
    of: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        if not isinstance(self.value, str):
            return f"{self.name}={self.shown}"
        plain = '"' not in self.value and "\\" not in self.value
        return f'{self.name}="{self.value}"' if plain else f"{self.name}={self.value!r}"

    @property
    def shown(self) -> str:
        """The value as text, numbers as short as they can be without becoming others."""
        if not isinstance(self.value, float):
            return str(self.value)
        short = f"{self.value:g}"
        return short if float(short) == self.value else str(float(self.value))


# A message is a sentence in parts: text, and arguments that its reader may know by another name.
Part = str | Argument
Parts = Part | tuple[Part, ...]
# From an argument to what a reader calls it.
Naming = Callable[[Argument], str]


class Told:
    """A message for a user, with the argument it is about and the remedy.

    Attributes:
        problem: what was expected and what came, in parts.
        remedy: what to do about it, in parts; empty if the problem says it.
        argument: the name of the library's argument that the message is about; None if it is about none.

    Examples:
        >>> error = ConfigError(Argument("num_steps"), " must be at least 1, not 0", remedy=Argument("num_steps", 4))
        >>> str(error), error.argument
        ('num_steps must be at least 1, not 0; num_steps=4', 'num_steps')
        >>> error.told(lambda argument: f"--{argument.name}")
        '--num_steps must be at least 1, not 0; --num_steps'
    """

    def __init__(self, *problem: Part, argument: str | None = None, remedy: Parts = ()) -> None:
        self.problem = problem
        self.remedy: tuple[Part, ...] = remedy if isinstance(remedy, tuple) else (remedy,)
        named = (part.name for part in problem if isinstance(part, Argument))
        self.argument = next(named, None) if argument is None else argument
        super().__init__(self.told())  # type: ignore[call-arg] # an exception follows in every child

    def told(self, name: Naming = str) -> str:
        """Return the whole message for a reader who knows the arguments by the names that `name` gives.

        It is one line without control characters, because names and prompts from outside stand in it.
        """
        texts = [shown(_joined(parts, name)) for parts in (self.problem, self.remedy) if parts]
        return "; ".join(texts)


def _joined(parts: Iterable[Part], name: Naming) -> str:
    return "".join(part if isinstance(part, str) else name(part) for part in parts)


class RenoiseError(Told, Exception):
    """The base of all errors that renoise raises on purpose."""


class ConfigError(RenoiseError, ValueError):
    """A setting, prompt or argument that cannot be used as given."""


class ImageError(RenoiseError):
    """An image that cannot be read, understood or written."""


class ModelError(RenoiseError):
    """A model that cannot be found, loaded or served, or that did not make the inversion at hand."""


class SchedulerError(RenoiseError):
    """A scheduler, or a setting of one, whose steps are not affine or cannot be inverted."""


class StorageError(RenoiseError):
    """An inversion file that cannot be read or written."""


class NumericalError(RenoiseError):
    """NaN or infinity where a latent should be."""


class RenoiseWarning(Told, UserWarning):
    """The base of all warnings that renoise issues: the work goes on, but not as the user may expect."""


class DrawnNoiseWarning(RenoiseWarning):
    """An edit needs noises that the inversion does not hold, so that they are drawn anew."""


class OtherStepsWarning(RenoiseWarning):
    """An edit walks another number of steps than the inversion did, so that the source prompt draws another image."""


class IgnoredSettingWarning(RenoiseWarning):
    """A setting that has no effect with this model."""


class ConvergenceWarning(RenoiseWarning):
    """An image whose inversion stays far from a fixed point, so that its reconstruction may not be true."""


class AdapterWarning(RenoiseWarning):
    """LoRA weights that fit the model only in part, or that want another sampler."""


class AssumedSamplingWarning(RenoiseWarning):
    """A model that a name alone tells to draw in a few steps, so that how it is sampled is assumed or left open."""


class ImageWarning(RenoiseWarning):
    """An image file of which only a part is used."""


class TruncationWarning(RenoiseWarning):
    """A prompt of which no text encoder of the model reads the end."""


def reason(error: Exception) -> str:
    """Return what went wrong, without the path that an `OSError` repeats."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
