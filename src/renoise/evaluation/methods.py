"""Ways to invert, behind one interface, so that they can be compared.

A method turns encoded images into noise and draws from that noise again. What it draws from is all that it may use:
a reconstruction measured from a stored trajectory would be exact and prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

from renoise.config import InversionConfig
from renoise.editor import Editor
from renoise.progress import Progress


@dataclass(frozen=True)
class Drawn:
    """Images drawn from noise.

    Attributes:
        pixels: (B, 3, H, W) in [0, 1], on the CPU.
        passes: network passes for each image.
    """

    pixels: Tensor
    passes: int


@dataclass(frozen=True)
class Noised:
    """A batch of images as noise.

    Attributes:
        latents: z_T, (B, C, h, w).
        passes: network passes for each image.
        draw: draws them again: with the source prompts for None, or with another prompt for each image, and with a
            guidance scale (None is the method's own).
        residuals: of every pass, (num_steps, K + 1, B) in sampling order, padded with NaN; None where there are none.
        timesteps: of the steps, in sampling order; empty where there are no residuals.
    """

    latents: Tensor
    passes: int
    draw: Callable[[Sequence[str] | None, float | None], Drawn]
    residuals: Tensor | None = None
    timesteps: tuple[float, ...] = ()


class Method(Protocol):
    """One way to invert, with its settings; a frozen value.

    Attributes:
        kind: its name in records (`registry.METHODS`).
    """

    kind: ClassVar[str]

    @property
    def num_inversion_steps(self) -> int:
        """Length of the schedule of the inversion."""

    @property
    def num_denoising_steps(self) -> int:
        """Length of the schedule of the reconstruction."""

    @property
    def iterations(self) -> int:
        """Renoising iterations of each step; 0 where there are none."""

    def settings(self) -> dict[str, Any]:
        """Everything that decides its results, JSON-able; `from_settings` makes an equal method of it."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The method that `settings` recorded."""

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """Encoded images (B, C, h, w) and their prompts, as noise."""


@dataclass(frozen=True)
class ReNoise:
    """Inversion by `Editor.invert`, plain sampler reversing (K = 0) included.

    Attributes:
        config: the settings of the inversion.
        num_steps: length of the schedule of the reconstruction; None is the inversion's.
        scheduler: the sampler's class in diffusers; None is the model's own.
        changes: settings of that sampler that differ from the model's own, as pairs.
        keep_residuals: keep the residual of every pass.
    """

    kind: ClassVar[str] = "renoise"

    config: InversionConfig
    num_steps: int | None = None
    scheduler: str | None = None
    changes: tuple[tuple[str, Any], ...] = ()
    keep_residuals: bool = False

    @property
    def num_inversion_steps(self) -> int:
        """See `Method`."""
        return self.config.num_steps

    @property
    def num_denoising_steps(self) -> int:
        """See `Method`."""
        return self.config.num_steps if self.num_steps is None else self.num_steps

    @property
    def iterations(self) -> int:
        """See `Method`."""
        return self.config.renoising.iterations

    def settings(self) -> dict[str, Any]:
        """See `Method`."""
        return asdict(self) | {"kind": self.kind, "config": self.config.to_record(), "changes": dict(self.changes)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """See `Method`."""
        values = {key: value for key, value in settings.items() if key != "kind"}
        return cls(
            **{
                **values,
                "config": InversionConfig.from_record(values["config"]),
                "changes": tuple(values["changes"].items()),
            }
        )

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """See `Method`."""
        if self.scheduler is not None:
            editor = editor.with_scheduler(self.scheduler, **dict(self.changes))
        inversion = editor.invert(
            latents=z_0, prompt=list(prompts), config=self.config, keep_residual_history=self.keep_residuals
        )
        timesteps = editor.timesteps(self.config) if self.keep_residuals else ()

        def draw(targets: Sequence[str] | None, guidance_scale: float | None) -> Drawn:
            return counted(
                partial(
                    editor.edit,
                    inversion,
                    list(prompts if targets is None else targets),
                    guidance_scale=self.config.guidance_scale if guidance_scale is None else guidance_scale,
                    num_steps=self.num_steps,
                    output_type="pt",
                )
            )

        return Noised(inversion.latents, inversion.network_passes, draw, inversion.residual_history, timesteps)


def counted(edit: Callable[..., Tensor]) -> Drawn:
    """What `Editor.edit` draws, with its network passes counted."""
    seen: list[Progress] = []
    pixels = edit(progress=seen.append)
    return Drawn(pixels.cpu(), seen[-1].done)
