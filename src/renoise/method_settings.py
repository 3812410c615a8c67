"""The settings of parts of the method: edit losses, noise correction and the walk. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from renoise.errors import Argument, ConfigError
from renoise.ranges import number, store, truth, whole

if TYPE_CHECKING:
    from renoise.steps import Step


@dataclass(frozen=True)
class EditLosses:
    """Edit enhancement: gradient steps that keep each averaged prediction looking like noise (`renoise.editability`).

    Attributes:
        pair: weight lambda of the pair-correlation loss, at a latent of 64 x 64; scaled so that it means the same at
            every size.
        patch_kl: weight lambda of the patch divergence from the prediction at the noised clean latent.
        steps: gradient steps on each prediction.
        shifts: random shifts of the pair loss in each of them.
        released_procedure: do as the published code does instead of the paper: regularise every prediction from the
            averaging window's start on, average the unregularised ones, regularise that average once more, clip the
            divergence's gradient and leave the pair loss unscaled. Its random shifts may also be 0 and differ from
            channel to channel; here they are at least 1 and the same for all channels of an image.

    Raises:
        ConfigError: for a setting out of its range.

    Examples:
        >>> EditLosses.released().pair
        20.0
    """

    pair: float = 10.0
    patch_kl: float = 0.055
    steps: int = 4
    shifts: int = 5
    released_procedure: bool = False

    def __post_init__(self) -> None:
        store(
            self,
            pair=number(self.pair, "pair", 0.0),
            patch_kl=number(self.patch_kl, "patch_kl", 0.0),
            steps=whole(self.steps, "steps", 1),
            shifts=whole(self.shifts, "shifts", 1),
            released_procedure=truth(self.released_procedure, "released_procedure"),
        )

    @classmethod
    def released(cls) -> EditLosses:
        """Return the settings and the procedure of the published code for SDXL Turbo."""
        return cls(pair=20.0, patch_kl=0.065, released_procedure=True)


@dataclass(frozen=True)
class NoiseCorrection:
    """How far the noise of a stochastic step moves towards the one with which the step is exact.

    Attributes:
        amount: the share of the way, in [0, 1].
        limit: the largest move, in root mean square for each element; None is no limit.
        moves: make so many moves of a fixed length instead, as the published code does; nearer to the exact noise than
            one of them, they step over it and back.
        move_length: the L2 length of each of them.

    Raises:
        ConfigError: for a setting out of its range.

    Examples:
        >>> NoiseCorrection.released().moves
        10
    """

    amount: float = 1.0
    limit: float | None = None
    moves: int | None = None
    move_length: float = 1.8

    def __post_init__(self) -> None:
        store(
            self,
            amount=number(self.amount, "amount", 0.0, 1.0),
            limit=None if self.limit is None else number(self.limit, "limit", 0.0),
            moves=None if self.moves is None else whole(self.moves, "moves", 1),
            move_length=number(self.move_length, "move_length", 0.0),
        )
        if self.limit == 0.0:
            raise ConfigError(
                "limit must be above 0, or None for no limit", argument="limit", remedy="use amount=0 to move nothing"
            )
        if self.moves is not None and (self.amount != 1.0 or self.limit is not None):
            raise ConfigError(
                "moves of a fixed length take neither amount nor limit", argument="moves", remedy="leave them out"
            )

    @classmethod
    def released(cls) -> NoiseCorrection:
        """Return the published code's ten moves of L2 length 1.8, whatever the latent's size."""
        return cls(moves=10)


@dataclass(frozen=True)
class Walk:
    """How an inversion walks up the sampler's steps.

    Attributes:
        forward: whether the noisy latents of a stochastic sampler are drawn, as its forward process draws them, and the
            noises of its steps solved for (see `renoise.forward`). Without noise correction those make the steps exact;
            with it they move only so far, from what the chain drew, towards those. Otherwise the noises are drawn and
            each step's latent is solved for, which is the paper's way.
        direct: whether the noisy latents below steps without noise are drawn as well, so that every step takes one
            pass and none is solved. What such a step then misses is kept as an offset of its prediction, for edits
            (`renoise.Inversion.offsets`). The noise alone draws a less true image.
        together: the number of steps whose noises are solved for in one batch; less where memory does not allow it.
        block: the most deterministic steps that are inverted with one solve, at the noisiest of them; the predictions
            in between are interpolated. 1 solves each step.
        span: steps are inverted together only as far as the share of noise in the latents, sigma / (alpha + sigma),
            rises by at most this. So the cleanest steps, on which most depends, are solved one by one. The cleanest one
            always is.

    Raises:
        ConfigError: for a setting out of its range.
    """

    forward: bool = True
    direct: bool = False
    together: int = 4
    block: int = 1
    span: float = 0.06

    def __post_init__(self) -> None:
        store(
            self,
            forward=truth(self.forward, "forward"),
            direct=truth(self.direct, "direct"),
            together=whole(self.together, "together", 1),
            block=whole(self.block, "block", 1, 8),
            span=number(self.span, "span", 0.0, 1.0),
        )
        if self.direct and not self.forward:
            raise ConfigError(
                Argument("direct", True), " draws latents along the forward chain", remedy="leave forward=True"
            )

    def draws(self, step: Step) -> bool:
        """Tell whether a step's noisy latent is drawn and what makes the step exact solved for; otherwise it is solved.

        A step that forgets the latent leaves no choice.
        """
        return self.direct or step.forgets or (self.forward and step.stochastic)


# The paper's walk: every step is solved for itself, with its noise as drawn.
PAPER = Walk(forward=False)
