"""What happens while a request is worked on, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from renoise.inversion import Inversion
from renoise.web.cache import Known


@dataclass(frozen=True)
class Waiting:
    """The model works for others.

    Attributes:
        before: how many requests come first.
    """

    before: int


@dataclass(frozen=True, eq=False)
class Pass:
    """A network pass was made.

    Attributes:
        work: what it was for, in words, such as "inverting" or "editing 1/2".
        done: network passes so far.
        total: the most that this work can take.
        timestep: the timestep that is worked on.
        step: how many sampler steps were finished before.
        num_steps: the number of sampler steps.
        preview: the image so far, small; None where it cannot be told.
    """

    work: str
    done: int
    total: int
    timestep: float
    step: int
    num_steps: int
    preview: Image.Image | None = None


@dataclass(frozen=True)
class Remark:
    """The library warns of something.

    Attributes:
        text: one sentence.
    """

    text: str


@dataclass(frozen=True, eq=False)
class Inverted:
    """The inversion is there.

    Attributes:
        known: the inversion, its reconstruction and its quality.
        passes: network passes that it took in this request: 0 if it was known before.
        before: whether it was known before, or given as a file.
        timesteps: the timesteps of its steps, the noisiest first.
    """

    known: Known
    passes: int
    before: bool
    timesteps: tuple[float, ...]

    @property
    def inversion(self) -> Inversion:
        """The inversion."""
        return self.known.inversion


@dataclass(frozen=True, eq=False)
class Edited:
    """One edit is there.

    Attributes:
        number: its place among the targets, from 1 on.
        target: the target prompt.
        image: the edit.
        changed: where it could change the image, in mode L; None where that cannot be told.
        passes: network passes that it took.
        record: the settings that made it, as JSON-able data.
    """

    number: int
    target: str
    image: Image.Image
    changed: Image.Image | None
    passes: int
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """The work ended.

    Attributes:
        stopped: whether it was stopped before all was done.
        seconds: how long it took, without the time it waited.
        passes: all network passes of the request.
    """

    stopped: bool
    seconds: float
    passes: int


Happening = Waiting | Pass | Remark | Inverted | Edited | Ended
