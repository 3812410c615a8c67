"""The user's object: a diffusers pipeline that inverts, reconstructs and edits images."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from renoise import edit_settings, remarks
from renoise.backbones import Request, family_of
from renoise.config import SOLVED_VARIANT, VARIANTS, InversionConfig
from renoise.edit_settings import config_for
from renoise.editing import Editing
from renoise.embeddings import GivenEmbeds, for_images
from renoise.errors import Argument, ConfigError
from renoise.fingerprint import fingerprint
from renoise.inversion import Inversion, padded
from renoise.inverting import invert
from renoise.loading.pipelines import load_pipeline, resolve_device
from renoise.model import Prepared
from renoise.named_presets import hold, named, require_family, split, without_preset
from renoise.noise import generators_for, given_or_drawn
from renoise.progress import Callback
from renoise.prompts import Prompt, one_each
from renoise.ranges import truth
from renoise.schedulers import describe, exchanged
from renoise.torch_defaults import inference, standard


class Editor(Editing):
    """Inverts real images into the noise of a text-to-image model and edits them with a prompt.

    Made from a loaded diffusers pipeline, whose components are shared, never copied and never changed: its scheduler,
    adapters, device and memory switches stay as they are.

    Args:
        pipe: a diffusers pipeline of a supported family (see `renoise.backbones`).
        name: what to call the model in inversions; `from_pretrained` gives its own.

    Raises:
        ModelError: if the pipeline's family is not supported.

    Examples:
        >>> editor = Editor.from_pretrained("mini")                                             # doctest: +SKIP
        >>> inversion = editor.invert("cat.png", prompt="a cat, noto style, on a white background")  # doctest: +SKIP
        >>> editor.edit(inversion, "a dog, noto style, on a white background").save("dog.png")  # doctest: +SKIP
    """

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
            options: `lora`, LoRA weights as a folder, a .safetensors file or a hub name, alone or with their strength,
                such as ("name", 0.7), or a list of them; `sampler`, such as "euler" or "lcm", in place of the model's
                own; `spacing`, of the timesteps ("trailing" suits models of a few steps); `preset`, the model of a few
                steps that it is, such as "sdxl-lightning-4" (`renoise.named_presets.NAMED`), for files that do not tell
                it; `compile=True`, to compile
                the network with `torch.compile` at its first pass, which wants a C++ compiler; `config`, the folder of
                a pipeline of the same kind, for a single file on a machine without network. The rest is passed on to
                diffusers' `from_pretrained` (`variant`, `revision`, `local_files_only`, ...).

        Raises:
            ModelError: if the model cannot be found or loaded.
            ConfigError: if device or dtype is unknown or not available.

        Warns:
            IgnoredSettingWarning: for options that loading passes over.
        """
        with standard():
            pipe = load_pipeline(name, resolve_device(device), dtype, **options)
        remarks.on_loading(pipe, options, file=os.path.isfile(name))
        return cls(pipe, name=os.fspath(name))

    def with_scheduler(self, name: str, **changes: Any) -> Editor:
        """Return an editor of the same networks with another sampler; this one and its pipeline stay as they are.

        Args:
            name: a scheduler's class in diffusers, one of `renoise.schedulers.SUPPORTED`.
            changes: settings that differ from those of the pipeline's own scheduler, such as `timestep_spacing`.

        Raises:
            SchedulerError: if the scheduler is unknown, is made for another kind of model, does not know a setting, or
                would clip its samples.

        Examples:
            >>> ancestral = editor.with_scheduler("EulerAncestralDiscreteScheduler")  # doctest: +SKIP
        """
        pipe = copy.copy(self.pipe)
        pipe.scheduler = exchanged(self.pipe.scheduler, name, **changes)
        return Editor(pipe, name=self.name)

    def with_preset(self, name: str) -> Editor:
        """Return an editor of the same networks, sampled as a model of a few steps; this one stays as it is.

        Args:
            name: the model, one of `renoise.named_presets.NAMED`, such as "sdxl-lightning-4".

        Raises:
            ConfigError: if there is no such model, or it is of another family.
            SchedulerError: if its sampler is made for another kind of model.

        Examples:
            >>> lightning = editor.with_preset("sdxl-lightning-4")  # doctest: +SKIP
        """
        preset = named(name, VARIANTS)
        if preset is None:
            raise ConfigError(Argument("name"), " must name a model of a few steps, not None")
        require_family(preset, family_of(self.pipe), f"a {type(self.pipe).__name__}")
        pipe = copy.copy(self.pipe)
        hold(pipe, preset, preset.put_into(without_preset(pipe)))
        return Editor(pipe, name=self.name)

    def timesteps(
        self, config: InversionConfig | None = None, size: tuple[int, int] | None = None
    ) -> tuple[float, ...]:
        """Return the timesteps of the steps that `invert` walks through with these settings, the noisiest first.

        Args:
            config: None takes the preset for the pipeline.
            size: (height, width) of the images, on which the schedules of some flow models depend; None is `size`,
                that of fitted images.

        Raises:
            ConfigError: if the config or the size is none.
            SchedulerError: if the pipeline's sampler cannot be inverted.
        """
        config = config_for(self.pipe, config)
        sides = self.size if size is None else edit_settings.checked_size(size)
        return tuple(step.timestep for step in self.model.steps(self.pipe.scheduler, config, sides))

    @inference
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
        clip_skip: int | None = None,
        guidance_rescale: float | None = None,
        edit_data: str | None = None,
        keep_trajectory: bool = False,
        keep_residual_history: bool = False,
        progress: Callback | None = None,
        **text_embeds: Unpack[GivenEmbeds],
    ) -> Inversion:
        """Find the noise from which the model draws this image.

        Args:
            image: a path, PIL image, array or tensor, a list of them (a batch), or what `prepare` made of them.
            prompt: what the image shows: one for all, or a list with one for each image.
            config: None takes the preset for the pipeline, `InversionConfig.for_pipeline`.
            negative_prompt: used with guidance; None is the pipeline's default.
            fit: how an image of another size or shape is brought to the model's: "crop" (the largest centred part of
                the model's shape), "pad" (the whole of it, the rest filled), "stretch" (the whole of it, distorted) or
                "keep" (in its own size, filled up to the latent grid; all images of a batch in one size). Edits of
                padded and kept images come in the original's size. Prepared images are fitted already.
            generator: draws the sampler's noises instead of generators with `config.seed`: one, or a list with one for
                each image.
            latents: encoded images z_0 (B, C, h, w) in place of `image`.
            noise: the sampler's noises (num_steps, B, C, h, w) in sampling order, in place of drawn ones. Deterministic
                samplers have no use for them.
            ip_adapter_image: for a pipeline with an IP-Adapter, the image that it is shown, as the pipeline's own call
                takes it, for all images alike. The inversion keeps its embedding.
            ip_adapter_image_embeds: its embeddings instead, a tensor for each adapter with 2 or 2 B rows, those of no
                image first, as diffusers makes them with `do_classifier_free_guidance=True`.
            clip_skip: in place of `config.clip_skip`; None is that.
            guidance_rescale: in place of `config.guidance_rescale`; None is that.
            edit_data: what is kept beside the noise for edits, the source's walk and its pixels: "float32", "float16"
                (half as large) or "none". None is "float32" for a direct walk, whose edits want it, and else "none".
            keep_trajectory: keep z_0 .. z_T, whatever is kept for edits, and in the same type as that.
            keep_residual_history: keep the residual of every pass.
            progress: called after each network pass (see `renoise.Progress`). Raising in it stops the work.
            text_embeds: embeddings in place of prompts, as the pipeline's `encode_prompt` and compel make them:
                `prompt_embeds` and `negative_prompt_embeds` (1 or B, tokens, width) and, where the model takes them,
                `pooled_prompt_embeds` and `negative_pooled_prompt_embeds` (1 or B, width). The inversion keeps them.

        Raises:
            ConfigError: for arguments that do not fit each other.
            ImageError: if an image cannot be read.
            SchedulerError: if the pipeline's sampler cannot be inverted.
            NumericalError: if the iteration diverges to NaN or infinity, or embeddings hold one of them.

        Warns:
            IgnoredSettingWarning: for what was given and has no effect.
            RenoiseWarning: for prompts in the language of other programs, and for networks in training mode.

        Examples:
            >>> inversion = editor.invert("cat.png", "a cat", keep_trajectory=True)  # doctest: +SKIP
        """
        by_preset = config is None
        config = config_for(self.pipe, config).overridden(clip_skip=clip_skip, guidance_rescale=guidance_rescale)
        data = edit_settings.edit_data(edit_data, config)
        keep_trajectory = truth(keep_trajectory, "keep_trajectory")
        keep_residual_history = truth(keep_residual_history, "keep_residual_history")
        # What cannot be inverted is refused before the autoencoder has worked for it.
        fitted_steps = self.model.steps(self.pipe.scheduler, config, self.size)
        embeds = self.model.text_embeds(text_embeds, prompt, negative_prompt)
        model_print = fingerprint(self.pipe)  # first, because running a network may change how it keeps its weights
        prepared = self.model.prepare(image, latents, fit)
        z_0, count = prepared.latents, len(prepared.latents)
        size = self.model.pixels(z_0)
        steps = fitted_steps if size == self.size else self.model.steps(self.pipe.scheduler, config, size)
        prompts = one_each(prompt, count, "prompt")
        negatives = None if negative_prompt is None else one_each(negative_prompt, count, "negative_prompt")
        given = remarks.Given(
            negative=negatives is not None or "negative_prompt_embeds" in embeds,
            embeds="prompt_embeds" in embeds,
            fit=fit,
            fitted=latents is not None or isinstance(image, Prepared),
            generator=generator is not None,
            noise=noise is not None,
            preset=by_preset,
        )
        remarks.on_training(self.pipe)
        remarks.on_prompts(self.model.backbone, [*prompts, *(negatives or ())])
        remarks.on_inverting(self.pipe, self.model.backbone, config, steps, given)
        generators = generators_for(generator, config.seed, count)
        noises = given_or_drawn(noise, steps, z_0, generators, always=config.walking.direct)
        image_embeds = self.model.image_embeds(ip_adapter_image, ip_adapter_image_embeds)
        request = Request(
            prompts,
            negatives,
            config.guidance_scale,
            size,
            config.true_cfg_scale,
            image_embeds,
            for_images(embeds, count),
            config.clip_skip,
            config.guidance_rescale,
        )
        keep = keep_trajectory or data is not None
        found = invert(self.model, steps, request, config, z_0, noises, generators, progress, keep)
        remarks.on_residuals(found.config, found.residuals)
        return Inversion(
            latents=found.latents,
            noise=found.noise,
            residuals=found.residuals,
            residual_history=padded(found.histories) if keep_residual_history else None,
            for_edits=data is not None,
            trajectory=_kept_as(found.trajectory, data),
            offsets=None if data is None else _kept_as(found.offsets, data),
            images=None if data is None else prepared.pixels,
            network_passes=max(found.passes),
            image_passes=found.passes if len(set(found.passes)) > 1 else None,
            config=found.config,
            prompt=prompt if isinstance(prompt, str) else list(prompt),
            negative_prompt=negatives if isinstance(negative_prompt, (list, tuple)) else negative_prompt,
            seed=config.seed if generator is None and noise is None else None,
            size=size,
            fits=prepared.fits,
            batched=prepared.batched,
            scheduler=describe(self.pipe.scheduler),
            fingerprint=model_print,
            model_name=self.name,
            image_embeds=image_embeds,
            **embeds,
        )

    def config(self, preset: str | None = None, **overrides: Any) -> InversionConfig:
        """Return a preset for this model, with the settings given here in place of the preset's.

        Args:
            preset: the settings to begin with (see `InversionConfig.for_pipeline`); None is the default, or "balanced"
                where iterations, edit losses or noise correction are asked for, which the default has no use for.
            overrides: as `InversionConfig.overridden` takes them. Edit losses that the preset lacks are the paper's for
                this model.

        Raises:
            ConfigError: if the preset is unknown, or a setting is out of its range.

        Examples:
            >>> config = editor.config("reverse", num_steps=20, noise_correction=1.0)  # doctest: +SKIP
        """
        model, variant = split(preset, VARIANTS)
        if variant is None and edit_settings.asks_for_solved_steps(overrides):
            preset = SOLVED_VARIANT if model is None else f"{model.name}:{SOLVED_VARIANT}"
        paper = "paper" if model is None else f"{model.name}:paper"
        losses = InversionConfig.for_pipeline(self.pipe, paper).edit_losses
        return InversionConfig.for_pipeline(self.pipe, preset).overridden(losses=losses, **overrides)


def _kept_as(tensor: Tensor | None, dtype: torch.dtype | None) -> Tensor | None:
    return tensor if tensor is None or dtype is None else tensor.to(dtype)
