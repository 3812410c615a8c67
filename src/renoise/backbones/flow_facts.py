"""What flow-matching families differ in, as data: how their networks are told the time, and how schedules are shifted.

A family (`renoise.backbones.flow.FlowBackbone`) declares these facts. Each of them is a value with one formula, which
diffusers' pipelines have in their calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Clock:
    """How a network is told the time of a step.

    Attributes:
        per: the number of timesteps in a unit of time. Timesteps run from `trained` at noise alone to 0.
        rising: whether time runs the other way, from 0 at noise alone.
        trained: the timestep of noise alone.

    Examples:
        >>> Clock(per=1000.0).told(250.0), Clock(per=1000.0, rising=True).told(250.0)
        (0.25, 0.75)
    """

    per: float = 1.0
    rising: bool = False
    trained: float = 1000.0

    def told(self, timesteps: Any) -> Any:
        """Return what the network is told, for a timestep or a tensor of them."""
        return (self.trained - timesteps if self.rising else timesteps) / self.per


class Shift(Protocol):
    """How the schedule of an image is shifted towards noise: the exponent mu that a pipeline gives its scheduler."""

    def mu(self, config: Mapping[str, Any], tokens: int, num_steps: int) -> float:
        """Return mu.

        Args:
            config: the scheduler's configuration.
            tokens: the number of tokens that the network makes of the image.
            num_steps: the length of the schedule.
        """


@dataclass(frozen=True)
class ByTokens:
    """Shifts along a straight line in the number of tokens (Esser et al., 2024, arXiv 2403.03206, section 5.3.2).

    The scheduler's configuration has the two points of the line. These are the second point's defaults.

    Attributes:
        max_tokens: the number of tokens.
        max_shift: mu there.
    """

    max_tokens: int = 4096
    max_shift: float = 1.15

    def mu(self, config: Mapping[str, Any], tokens: int, num_steps: int) -> float:
        """See `Shift.mu`.

        Examples:
            >>> round(ByTokens().mu({}, tokens=4096, num_steps=20), 4)
            1.15
        """
        least, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", self.max_tokens)
        low, high = config.get("base_shift", 0.5), config.get("max_shift", self.max_shift)
        slope = (high - low) / (most - least)
        return float(tokens * slope + (low - slope * least))


@dataclass(frozen=True)
class Fixed:
    """Shifts every schedule by the same exponent.

    Attributes:
        exponent: mu.
    """

    exponent: float

    def mu(self, config: Mapping[str, Any], tokens: int, num_steps: int) -> float:
        """See `Shift.mu`."""
        return self.exponent
