"""The user's object: a diffusers pipeline that can invert, reconstruct and edit images."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from renoise import images
from renoise.backbones import Request
from renoise.checks import FINITE, require_finite, require_noise
from renoise.config import InversionConfig
from renoise.errors import ConfigError, ModelError
from renoise.fingerprint import fingerprint, same_model
from renoise.inversion import Enhancement, Inversion, draw_noise, generators_for, invert_steps, padded
from renoise.loading.pipelines import load_pipeline, resolve_device
from renoise.model import Model, place
from renoise.prompts import Prompt, arrange_targets, one_each
from renoise.schedulers import describe, exchanged, restore
from renoise.steps import Step
from renoise.walks import denoise_steps, joined, noise_for_steps

log = logging.getLogger("renoise")

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


@dataclass(frozen=True)
class Progress:
    """What a `progress` callable is told after each sampler step.

    Attributes:
        stage: "invert" or "edit".
        done: network passes so far, for each image.
        total: network passes in all, for each image.
        timestep: of the step that was just finished.
    """

    stage: str
    done: int
    total: int
    timestep: float


class Editor:
    """Inverts real images into the noise of a text-to-image model and edits them with a prompt.

    Made from a loaded diffusers pipeline, whose components are shared, never copied and never changed: its scheduler,
    adapters, device and memory switches stay as they are.

    Args:
        pipe: a diffusers pipeline of a supported family (see `renoise.backbones`).
        name: what to call the model in inversions; `from_pretrained` gives its own.

    Raises:
        ModelError: if the pipeline's family is not supported.

    Example:
        >>> editor = Editor.from_pretrained("mini")                                             # doctest: +SKIP
        >>> inversion = editor.invert("cat.png", prompt="a cat, noto style, on a white background")  # doctest: +SKIP
        >>> editor.edit(inversion, "a dog, noto style, on a white background").save("dog.png")  # doctest: +SKIP
    """

    def __init__(self, pipe: Any, *, name: str | None = None) -> None:
        self.pipe = pipe
        self.name = name
        self.model = Model(pipe)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> Editor:
        """Load a model by name.

        Args:
            name: "mini" (the bundled model, offline), a pipeline directory, a .safetensors checkpoint, or a hub name.
            dtype: of the networks; None is float32 on a CPU and, on a GPU, float16, or bfloat16 for SD3 and Flux, whose
                text encoder overflows in float16.
            device: None is the best one here.
            options: `lora`, LoRA weights as a folder, a .safetensors file or a hub name, or a list of them; `sampler`,
                such as "euler" or "lcm", in place of the model's own; `config`, the folder of a pipeline of the same
                kind, for a single file on a machine without network. The rest is passed on to diffusers'
                `from_pretrained` (`variant`, `revision`, `local_files_only`, ...).

        Raises:
            ModelError: if the model cannot be found or loaded.
            ConfigError: if device or dtype is unknown or not available.
        """
        return cls(load_pipeline(name, resolve_device(device), dtype, **options), name=os.fspath(name))

    def with_scheduler(self, name: str, **changes: Any) -> Editor:
        """An editor of the same networks that samples otherwise; this one and its pipeline stay as they are.

        Args:
            name: a scheduler's class in diffusers, one of `renoise.schedulers.SUPPORTED`.
            changes: settings that differ from those of the pipeline's own scheduler, such as `timestep_spacing`.

        Raises:
            SchedulerError: if the scheduler is unknown, is made for another kind of model, does not know a setting, or
                would clip its samples.

        Example:
            >>> ancestral = editor.with_scheduler("EulerAncestralDiscreteScheduler")  # doctest: +SKIP
        """
        pipe = copy.copy(self.pipe)
        pipe.scheduler = exchanged(self.pipe.scheduler, name, **changes)
        return Editor(pipe, name=self.name)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels to which images are fitted."""
        return self.model.backbone.resolution

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.model.backbone.device

    @property
    def dtype(self) -> torch.dtype:
        """The network's floating-point type; latents are float32 whatever it is."""
        return self.model.backbone.dtype

    def timesteps(
        self, config: InversionConfig | None = None, size: tuple[int, int] | None = None
    ) -> tuple[float, ...]:
        """The timesteps of the steps that `invert` walks through with these settings, the noisiest first.

        Args:
            config: None takes the preset for the pipeline.
            size: (height, width) of the images, on which the schedules of some flow models depend; None is `size`,
                that of fitted images.

        Raises:
            SchedulerError: if the pipeline's sampler cannot be inverted.
        """
        config = InversionConfig.for_pipeline(self.pipe) if config is None else config
        return tuple(step.timestep for step in self.model.steps(self.pipe.scheduler, config, size or self.size))

    def fit(self, image: Any, fit: str = "crop") -> Any:
        """The image as the model sees it (see `invert` for the ways to fit it); a list for a list.

        Raises:
            ImageError: if an image cannot be read.
            ConfigError: if the way to fit it is unknown.
        """
        pictures, batched = images.load_all(image)
        fitted = [self.model.fitted(p, fit)[0] for p in pictures]
        return fitted if batched else fitted[0]

    @torch.no_grad()
    def encode(self, image: Any, fit: str = "crop") -> Tensor:
        """Latents z_0 of one image or many, float32 (B, C, h, w).

        Args:
            image: as `invert` takes it.
            fit: likewise.

        Raises:
            ImageError: if an image cannot be read.
            ConfigError: if the way to fit it is unknown, or kept images have several sizes.
            NumericalError: if the autoencoder overflows.
        """
        return self.model.encode(images.load_all(image)[0], fit)[0]

    @torch.no_grad()
    def embed_images(self, ip_adapter_image: Any) -> tuple[Tensor, ...]:
        """Embeddings of the images that IP-Adapters are shown, as `invert` and `edit` take them.

        Args:
            ip_adapter_image: an image, or a list with one for each adapter; a list in its place is several images
                for one adapter.

        Returns:
            A tensor (2, images, ...) for each adapter: the row of no image, then that of the images.

        Raises:
            ConfigError: if the pipeline has no IP-Adapter or cannot look at images.
        """
        embeds = self.model.image_embeds(ip_adapter_image, None)
        if embeds is None:
            raise ConfigError("embed_images wants an image, not None")
        return embeds

    @torch.no_grad()
    def decode(self, latents: Tensor, output_type: str = "pil") -> Any:
        """Images of latents (B, C, h, w).

        Args:
            latents: in the autoencoder's standardised scale, as `encode` returns them.
            output_type: "pil" for a list of images, "np" for an array (B, H, W, 3) and "pt" for a tensor (B, 3, H, W)
                with values in [0, 1], "latent" for the latents themselves.

        Raises:
            NumericalError: if the autoencoder overflows.
        """
        _require_output_type(output_type)
        if output_type == "latent":
            self.model.require_latents(latents)
            return latents
        pixels = self.model.decode(latents)
        if output_type == "pt":
            return pixels
        return pixels.permute(0, 2, 3, 1).cpu().numpy() if output_type == "np" else images.to_pictures(pixels)

    @torch.no_grad()
    def invert(
        self,
        image: Any = None,
        prompt: Prompt = "",
        *,
        config: InversionConfig | None = None,
        negative_prompt: Prompt | None = None,
        fit: str = "crop",
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        noise: Tensor | None = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Sequence[Tensor] | None = None,
        keep_trajectory: bool = False,
        keep_residual_history: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Inversion:
        """Find the noise from which the model draws this image.

        Args:
            image: a path, PIL image, array or tensor, or a list of them (a batch).
            prompt: what the image shows: one for all, or a list with one for each image.
            config: None takes the preset for the pipeline, `InversionConfig.for_pipeline`.
            negative_prompt: used with guidance; None is the pipeline's own default.
            fit: how an image of another size or shape is brought to the model's: "crop" (the largest centred part of
                the model's shape), "pad" (the whole of it, the rest filled), "stretch" (the whole of it, distorted) or
                "keep" (in its own size, filled up to the latent grid; all images of a batch in one size). Edits of
                padded and kept images come in the original's size.
            generator: draws the sampler's noises instead of generators with `config.seed`: one, or a list with one for
                each image.
            latents: encoded images z_0 (B, C, h, w) in place of `image`.
            noise: the sampler's noises (num_steps, B, C, h, w) in sampling order, in place of drawn ones. Deterministic
                samplers have no use for them.
            ip_adapter_image: for a pipeline with an IP-Adapter, the image that it is shown: as the pipeline's own
                call takes it, for all images alike. The inversion keeps its embedding.
            ip_adapter_image_embeds: its embeddings instead, a tensor for each adapter with 2 or 2 B rows, those of no
                image first, as diffusers makes them with `do_classifier_free_guidance=True`.
            keep_trajectory: keep z_0 .. z_T.
            keep_residual_history: keep the residual of every pass.
            progress: called after each sampler step.

        Raises:
            ConfigError: for arguments that do not fit each other.
            ImageError: if an image cannot be read.
            SchedulerError: if the pipeline's sampler cannot be inverted.
            NumericalError: if the iteration diverges to NaN or infinity.
        """
        config = InversionConfig.for_pipeline(self.pipe) if config is None else config
        if not isinstance(config, InversionConfig):
            raise ConfigError(f"config must be an InversionConfig, not {type(config).__name__}")
        self.timesteps(config)  # refuses what cannot be inverted before the autoencoder has worked for it
        z_0, fits, batched = self.model.start(image, latents, fit)
        steps = self.model.steps(self.pipe.scheduler, config, self.model.pixels(z_0))
        count = z_0.shape[0]
        prompts = one_each(prompt, count, "prompt")
        negatives = None if negative_prompt is None else one_each(negative_prompt, count, "negative_prompt")
        generators = generators_for(generator, config.seed, count)
        stochastic = any(step.stochastic for step in steps)
        noises: Tensor | None = None
        if noise is not None:
            require_noise(noise, (len(steps), *z_0.shape))
            noises = noise.detach().to(z_0.device, torch.float32)
            require_finite(noises, "the given noise", remedy=FINITE)
        elif stochastic:
            noises = draw_noise(len(steps), z_0.shape, generators, z_0.device)

        image_embeds = self.model.image_embeds(ip_adapter_image, ip_adapter_image_embeds)
        request = Request(
            prompts, negatives, config.guidance_scale, self.model.pixels(z_0), config.true_cfg_scale, image_embeds
        )
        corrected: list[Tensor] = []
        done, trajectory = 0, [z_0]
        residuals: list[Tensor] = []
        with self.model.released():
            condition = self.model.condition(request)
            total = sum(config.passes_at(s.timestep, stochastic=s.stochastic) for s in steps) * condition.passes
            predict, enhancement = self.model.predict_with(condition, steps), None
            if config.edit_losses is not None:
                enhancement = Enhancement(config.edit_losses, z_0, predict, generators)
            for walked in invert_steps(steps, predict, z_0, noises, config, enhancement):
                done += walked.passes * condition.passes
                if walked.noise is not None:
                    corrected.insert(0, walked.noise)
                residuals.insert(0, walked.residuals)
                if keep_trajectory:
                    trajectory.append(walked.latents)
                self.model.require_finite(walked.latents, f"the latent inverted {place(walked.step, steps)}")
                if progress is not None:
                    progress(Progress("invert", done, total, walked.step.timestep))
        return Inversion(
            latents=walked.latents,
            noise=torch.stack(corrected) if stochastic else None,
            residuals=torch.stack([r[-1] for r in residuals]),
            residual_history=padded(residuals) if keep_residual_history else None,
            trajectory=torch.stack(trajectory) if keep_trajectory else None,
            network_passes=done,
            config=config,
            prompt=prompt if isinstance(prompt, str) else list(prompt),
            negative_prompt=negative_prompt
            if negative_prompt is None or isinstance(negative_prompt, str)
            else negatives,
            seed=config.seed if generator is None and noise is None else None,
            size=self.model.pixels(z_0),
            fits=fits,
            batched=batched,
            scheduler=describe(self.pipe.scheduler),
            fingerprint=fingerprint(self.pipe),
            model=self.name,
            image_embeds=image_embeds,
        )

    def reconstruct(
        self,
        inversion: Inversion,
        output_type: str = "pil",
        *,
        progress: Callable[[Progress], None] | None = None,
        force: bool = False,
    ) -> Any:
        """Draw the image again from (z_T, noises) alone: `edit` with the source prompt and everything as inverted."""
        _require_inversion(inversion)
        prompts = one_each(inversion.prompt, inversion.batch_size, "prompt")
        target: Any = prompts if inversion.batched else prompts[0]
        return self.edit(inversion, target, output_type=output_type, progress=progress, force=force)

    @torch.no_grad()
    def edit(
        self,
        inversion: Inversion,
        prompt: str | Sequence[Any],
        *,
        guidance_scale: float | None = None,
        negative_prompt: Prompt | None = None,
        num_steps: int | None = None,
        true_cfg_scale: float | None = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Sequence[Tensor] | None = None,
        output_type: str = "pil",
        progress: Callable[[Progress], None] | None = None,
        force: bool = False,
    ) -> Any:
        """Draw the inverted image with another prompt.

        Args:
            inversion: from `invert` or `Inversion.load`.
            prompt: for one image a string, or a list of targets; for a batch a string for all, a list with one for
                each image, or a list of lists of targets for each.
            guidance_scale: of the edit; None is the inversion's. Above 1 the edit is stronger and keeps less.
            negative_prompt: one for all or one for each image; None is the inversion's.
            num_steps: of the schedule; None is the inversion's. Another number starts at the noise level where the
                inversion ended. Noises belong to timesteps: a stochastic sampler keeps those of the timesteps that both
                have, the others are drawn from the inversion's seed, and a warning is logged.
            true_cfg_scale: classifier-free guidance of models that have another kind of guidance built in (Flux); None
                is the inversion's.
            ip_adapter_image: as for `invert`; None is what the inversion was shown.
            ip_adapter_image_embeds: likewise.
            output_type: "pil", "np" (B, H, W, 3), "pt" (B, 3, H, W), or "latent" (B, C, h, w); the last three are flat
                over images and targets, and the model's image, without the way back from padded and kept ones.
            progress: called after each sampler step.
            force: edit with a model other than the one that inverted.

        Returns:
            For "pil": one image, or lists shaped as the prompts are.

        Raises:
            ConfigError: for arguments that do not fit the inversion.
            ModelError: if another model made the inversion, unless forced.
            NumericalError: if sampling ends in NaN or infinity.
        """
        _require_output_type(output_type)
        _require_inversion(inversion)
        self._require_same_model(inversion, force)
        targets, shape = arrange_targets(prompt, inversion.batch_size, inversion.batched)
        owners = [i for i, own in enumerate(targets) for _ in own]
        scale = inversion.config.guidance_scale if guidance_scale is None else guidance_scale
        config = _edit_config(inversion, scale, num_steps, true_cfg_scale)
        steps, noises = self._forward(inversion, config)
        negative = inversion.negative_prompt if negative_prompt is None else negative_prompt
        negatives = None if negative is None else one_each(negative, inversion.batch_size, "negative_prompt")

        device = self.model.backbone.device
        image_embeds = self.model.image_embeds(ip_adapter_image, ip_adapter_image_embeds)
        if image_embeds is None:
            image_embeds = inversion.image_embeds
        index = torch.tensor(owners)
        latents = inversion.latents.cpu()[index].to(device, torch.float32)
        noise = None if noises is None else noises[:, index].to(device, torch.float32)
        request = Request(
            [p for own in targets for p in own],
            None if negatives is None else [negatives[i] for i in owners],
            config.guidance_scale,
            inversion.size,
            config.true_cfg_scale,
            _for_targets(image_embeds, index, inversion.batch_size),
        )
        with self.model.released():
            condition = self.model.condition(request)
            for walked in denoise_steps(steps, self.model.predict_with(condition, steps), latents, noise):
                latents = walked.latents
                self.model.require_finite(latents, f"the latent edited {place(walked.step, steps)}")
                if progress is not None:
                    done, total = (walked.index + 1) * condition.passes, len(steps) * condition.passes
                    progress(Progress("edit", done, total, walked.step.timestep))
        pictures = self.decode(latents, output_type)
        if output_type != "pil":
            return pictures
        return shape([images.unfit(p, inversion.fits[i]) for p, i in zip(pictures, owners, strict=True)])

    def _forward(self, inversion: Inversion, config: InversionConfig) -> tuple[tuple[Step, ...], Tensor | None]:
        """The sampler's steps, and the noises (len(steps), B, C, h, w) on the CPU that they take."""
        scheduler = restore(inversion.scheduler)
        inverted = self.model.steps(scheduler, inversion.config, inversion.size)
        steps = inverted
        if config.num_steps != inversion.config.num_steps:
            steps = joined(self.model.steps(scheduler, config, inversion.size), inverted[0])
        if not any(step.stochastic for step in steps):
            return steps, None
        noise, missing = noise_for_steps(steps, inverted, inversion)
        if missing:
            log.warning(
                "%s adds noise in its steps, and the inversion does not hold that of %d of the %d steps asked for: it "
                "is drawn from the inversion's seed, and the source prompt no longer reconstructs the image",
                inversion.scheduler["class"],
                missing,
                len(steps),
            )
        return steps, noise

    def _require_same_model(self, inversion: Inversion, force: bool) -> None:
        if inversion.latents.shape[1] != self.model.backbone.latent_channels:
            raise ModelError(
                f"the inversion's latents have {inversion.latents.shape[1]} channels, this model's "
                f"{self.model.backbone.latent_channels}: load the model that made the inversion"
            )
        if not force and not same_model(inversion.fingerprint, fingerprint(self.pipe)):
            made_with = "another model" if inversion.model is None else repr(inversion.model)
            here = "the one loaded" if self.name is None else repr(self.name)
            raise ModelError(
                f"the inversion was made with {made_with}, which is not {here} as it is now, in its weights or in its "
                "adapters; load that model, or pass force=True to edit with this one all the same"
            )


def _require_inversion(inversion: Any) -> None:
    if not isinstance(inversion, Inversion):
        raise ConfigError(f"expected an Inversion, not {type(inversion).__name__}; make one with editor.invert(...)")


def _require_output_type(output_type: str) -> None:
    if output_type not in OUTPUT_TYPES:
        raise ConfigError(f"output_type {output_type!r} is unknown; use one of {', '.join(OUTPUT_TYPES)}")


def _for_targets(image_embeds: Sequence[Tensor] | None, owners: Tensor, count: int) -> Sequence[Tensor] | None:
    """Embeddings with a row for each target, from those with a row for each of `count` images or one for all."""
    if image_embeds is None:
        return None
    return [
        torch.cat([half[owners] for half in t.chunk(2)]) if count > 1 and t.shape[0] == 2 * count else t
        for t in image_embeds
    ]


def _edit_config(
    inversion: Inversion, guidance_scale: float, num_steps: int | None, true_cfg_scale: float | None
) -> InversionConfig:
    """The inversion's settings with those of the edit, checked by the same rules."""
    own = inversion.config
    return replace(
        own,
        guidance_scale=guidance_scale,
        num_steps=own.num_steps if num_steps is None else num_steps,
        true_cfg_scale=own.true_cfg_scale if true_cfg_scale is None else true_cfg_scale,
    )
