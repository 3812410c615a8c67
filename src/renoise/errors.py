"""The errors that a user of renoise can meet.

Every message says three things: what was expected, what came, and what to do about it. Code that wants to react to one
kind of failure catches the child; code that wants to report any of them catches `RenoiseError`.
"""

from __future__ import annotations


class RenoiseError(Exception):
    """Base of all errors that renoise raises on purpose."""


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


def reason(error: Exception) -> str:
    """What went wrong, without the path that an `OSError` repeats."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
