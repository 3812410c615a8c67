"""Ways to invert, behind one interface, so that they can be compared.

A method turns encoded images into noise and draws from that noise again. A reconstruction is drawn from (z_T, noises)
alone: measured from what an inversion keeps beside them for edits, it would be exact and prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from torch import Tensor

from renoise import Editor, Inversion, InversionConfig
from renoise.edit_rules import Changes
from renoise.evaluation.rule_records import changes_from, changes_record
from renoise.steps import Step

# Edits as they suit the inversion.
SUITING = Changes()


@dataclass(frozen=True)
class Drawn:
    """Images drawn from noise.

    Attributes:
        pixels: the images, (B, 3, H, W) in [0, 1], on the CPU.
        passes: network passes for each image.
    """

    pixels: Tensor
    passes: int


# Draws images from noise: with the source prompts for None, or with another prompt for each image, and with a guidance
# scale, where None is the method's own.
Draw = Callable[[Sequence[str] | None, float | None], Drawn]


@dataclass(frozen=True)
class Noised:
    """A batch of images as noise.

    Attributes:
        latents: z_T, (B, C, h, w).
        passes: network passes for one image, for the one that took most where they differ.
        draw: draws the images again, or edits them.
        scale: the deviation of the white noise from which the sampler would start, in the latents' units: for
            Euler-type samplers the noise level, and 1 for those that keep the variance.
        passes_each: network passes of each image; empty where every image takes as many.
        residuals: the residual of every pass, (num_steps, K + 1, B) in sampling order, padded with NaN; or None.
        timesteps: the timesteps of the steps in sampling order; empty where there are no residuals.
    """

    latents: Tensor
    passes: int
    draw: Draw
    scale: float = 1.0
    passes_each: tuple[int, ...] = ()
    residuals: Tensor | None = None
    timesteps: tuple[float, ...] = ()

    def passes_of(self, i: int) -> int:
        """Return the network passes of the i-th image."""
        return self.passes_each[i] if self.passes_each else self.passes


@dataclass(frozen=True)
class Method:
    """One way to invert: a frozen dataclass of its settings, with its `invert`.

    Attributes:
        kind: the method's name in records (`registry.METHODS`).
    """

    kind: ClassVar[str]

    @property
    def num_inversion_steps(self) -> int:
        """Length of the schedule of the inversion."""
        raise NotImplementedError

    @property
    def num_denoising_steps(self) -> int:
        """Length of the schedule of the reconstruction."""
        return self.num_inversion_steps

    @property
    def iterations(self) -> int:
        """Renoising iterations of each step; 0 where there are none."""
        return 0

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """Turn encoded images (B, C, h, w), each with its prompt, into noise."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return everything that decides the results, JSON-able; `from_settings` makes an equal method of it."""
        parts = {name: part.to_record() for name, part in vars(self).items() if isinstance(part, InversionConfig)}
        return asdict(self) | {"kind": self.kind} | parts

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the method that `settings` recorded.

        Raises:
            LookupError: if a setting is missing.
        """
        values = {field.name: settings[field.name] for field in fields(cls)}
        if "config" in values:
            values["config"] = InversionConfig.from_record(values["config"])
        return cls(**values)


@dataclass(frozen=True)
class ByEditor(Method):
    """A method that inverts with `Editor.invert` and the settings `config`."""

    config: InversionConfig

    @property
    def num_inversion_steps(self) -> int:
        """Length of the schedule of the inversion."""
        return self.config.num_steps

    @property
    def iterations(self) -> int:
        """Renoising iterations of each step; 0 where another solver or a direct walk takes their place."""
        config = self.config
        return config.renoising.iterations if config.solver is None and not config.walking.direct else 0


@dataclass(frozen=True)
class ReNoise(ByEditor):
    """Inversion with any settings; plain sampler reversing is the special case K = 0.

    Attributes:
        config: the settings of the inversion.
        num_steps: length of the schedule of the reconstruction; None is the inversion's.
        scheduler: the sampler's class in diffusers; None is the model's own.
        changes: the sampler's settings that differ from the model's own, as pairs.
        keep_residuals: whether to keep the residual of every pass.
        edit: what edits change and keep, as `Editor.edit` takes it; by default what suits the inversion.
    """

    kind: ClassVar[str] = "renoise"

    num_steps: int | None = None
    scheduler: str | None = None
    changes: tuple[tuple[str, Any], ...] = ()
    keep_residuals: bool = False
    edit: Changes = SUITING

    @property
    def num_denoising_steps(self) -> int:
        """Length of the schedule of the reconstruction."""
        return self.config.num_steps if self.num_steps is None else self.num_steps

    def settings(self) -> dict[str, Any]:
        """Return everything that decides the results; see `Method`."""
        settings = super().settings() | {"changes": dict(self.changes)}
        # Records that are older than the field have none, and those without it keep their keys.
        del settings["edit"]
        return settings if self.edit == SUITING else settings | {"edit": changes_record(self.edit)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the method that `settings` recorded; see `Method`."""
        edit = changes_from(settings["edit"]) if "edit" in settings else SUITING
        return super().from_settings({**settings, "changes": tuple(settings["changes"].items()), "edit": edit})

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """Turn images into noise; see `Method`."""
        if self.scheduler is not None:
            editor = editor.with_scheduler(self.scheduler, **dict(self.changes))
        source, scale, keep = list(prompts), self.config.guidance_scale, self.keep_residuals
        inversion = editor.invert(latents=z_0, prompt=source, config=self.config, keep_residual_history=keep)
        draw = drawing(editor, inversion, source, scale, scale, edit=self.edit, num_steps=self.num_steps)
        timesteps = editor.timesteps(self.config) if keep else ()
        return noised(editor, inversion, draw, residuals=inversion.residual_history, timesteps=timesteps)


def noised(editor: Editor, inversion: Inversion, draw: Draw, **more: Any) -> Noised:
    """Return an inversion by `Editor.invert` as noise; `more` are further attributes of `Noised`."""
    steps = editor.model.steps(editor.pipe.scheduler, inversion.config, inversion.size)
    passes = tuple(inversion.passes.tolist())
    return Noised(inversion.latents, inversion.network_passes, draw, noise_scale(steps[0]), passes, **more)


def noise_scale(first: Step) -> float:
    """Return the deviation of the white noise from which a sampler starts at its first step.

    It is that of noisy latents alpha z_0 + sigma eps whose clean latents have a deviation of 1, as those of an
    autoencoder have, and what diffusers calls `init_noise_sigma`: 1 for samplers that keep the variance, and
    sqrt(sigma^2 + 1) for those that count in noise levels (where diffusers takes sigma for trailing spacing, which is
    0.2 % less for Stable Diffusion).

    Examples:
        >>> noise_scale(Step(phi=1.0, psi=0.0, rho=0.0, timestep=999.0, alpha=0.6, sigma=0.8))
        1.0
    """
    return math.hypot(first.alpha, first.sigma)


def drawing(
    editor: Editor,
    inversion: Inversion,
    source: Sequence[str],
    guidance_scale: float,
    edit_guidance_scale: float,
    *,
    negative_prompt: list[str] | None = None,
    edit: Changes = SUITING,
    **options: Any,
) -> Draw:
    """Return what draws with `Editor.edit` and counts the network passes.

    A reconstruction has the source prompts, one for each image, and a guidance scale that may differ from an edit's. It
    is drawn from the noise alone, without what the inversion keeps for edits. `edit` says what edits change and keep.
    The negative prompts count where there is guidance; `options` are further arguments of `Editor.edit`.
    """
    alone = inversion.alone()
    knobs: dict[str, Any] = {"strength": edit.strength, "keep": edit.keep, "rule": edit.own}

    def draw(targets: Sequence[str] | None, scale: float | None) -> Drawn:
        own = guidance_scale if targets is None else edit_guidance_scale
        own = own if scale is None else scale
        passes: list[int] = []
        pixels: Tensor = editor.edit(
            alone if targets is None else inversion,
            list(source if targets is None else targets),
            guidance_scale=own,
            negative_prompt=negative_prompt if own > 1.0 else None,
            output_type="pt",
            progress=lambda advance: passes.append(advance.done),
            **({} if targets is None else knobs),
            **options,
        )
        # An edit of strength 0 is the source, and takes no pass.
        return Drawn(pixels.cpu(), max(passes, default=0))

    return draw
