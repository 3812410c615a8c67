"""Stable Diffusion 1.x and 2.x and SDXL: pipelines with a UNet2DConditionModel and an AutoencoderKL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any, ClassVar

import torch
from torch import Tensor

from renoise.backbones.base import Condition, Embeddings, guided, wants_guidance
from renoise.errors import ModelError
from renoise.steps import Step

# While one thread has the shared autoencoder in another precision, no other thread may use it.
_UPCASTING = RLock()


class StableDiffusionBackbone:
    """SD 1.x and 2.x: one text encoder, cross-attention alone."""

    components: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder", "tokenizer")
    # What diffusers' pipelines take for a network that names no size, in latent elements.
    default_side: ClassVar[int] = 64

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        for name in self.components:
            if getattr(pipe, name, None) is None:
                raise ModelError(f"the pipeline has no {name}; load it whole, with from_pretrained")
        if getattr(pipe.unet.config, "encoder_hid_dim_type", None) is not None:
            raise ModelError(
                "the network is conditioned on pictures as well (an IP-Adapter), which is not supported; call "
                "pipe.unload_ip_adapter() first"
            )
        if pipe.unet.config.in_channels != self.latent_channels:
            raise ModelError(
                f"the network takes {pipe.unet.config.in_channels} channels but the autoencoder makes "
                f"{self.latent_channels}: inpainting and depth models cannot be inverted; use a text-to-image model"
            )

    @property
    def resolution(self) -> tuple[int, int]:
        """(height, width) in pixels that the model was made for."""
        size = self.pipe.unet.config.sample_size or self.default_side
        height, width = (size, size) if isinstance(size, int) else size
        return height * self.latent_scale, width * self.latent_scale

    @property
    def latent_scale(self) -> int:
        """Pixels for each latent element along a side."""
        return int(self.pipe.vae_scale_factor)

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return int(self.pipe.vae.config.latent_channels)

    @property
    def device(self) -> torch.device:
        """Where the network runs, offloading hooks considered."""
        return torch.device(self.pipe._execution_device)

    @property
    def dtype(self) -> torch.dtype:
        """The UNet's floating-point type."""
        dtype: torch.dtype = self.pipe.unet.dtype
        return dtype

    def encode(self, pixels: Tensor) -> Tensor:
        """See `Backbone.encode`."""
        with self._vae() as vae:
            encoded = vae.encode((2.0 * pixels - 1.0).to(self.device, vae.dtype))
            # AutoencoderTiny has no distribution to take the mode of.
            z: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        mean, deviation = self._latent_statistics(z)
        return (z.float() - mean) / deviation

    def decode(self, latents: Tensor) -> Tensor:
        """See `Backbone.decode`."""
        mean, deviation = self._latent_statistics(latents)
        with self._vae() as vae:
            z = (latents * deviation + mean).to(self.device, vae.dtype)
            pixels: Tensor = vae.decode(z, return_dict=False)[0].float()
        return (0.5 * pixels + 0.5).clamp(0.0, 1.0)

    def condition(
        self,
        prompts: Sequence[str],
        negative_prompts: Sequence[str] | None,
        guidance_scale: float,
        size: tuple[int, int],
    ) -> Condition:
        """See `Backbone.condition`."""
        with_negative = wants_guidance(guidance_scale, self.pipe.unet.config)
        positive, negative = self._encode_prompts(prompts, negative_prompts, with_negative, size)
        if self.pipe.unet.config.time_cond_proj_dim is not None:
            scales = torch.full((len(prompts),), guidance_scale - 1.0)
            width = self.pipe.unet.config.time_cond_proj_dim
            embedded = self.pipe.get_guidance_scale_embedding(scales, embedding_dim=width)
            positive["timestep_cond"] = embedded.to(self.device)
        positive = {name: t.to(self.dtype) for name, t in positive.items()}
        if negative is None:
            return Condition(positive)
        return Condition(positive, {name: t.to(self.dtype) for name, t in negative.items()}, guidance_scale)

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            prediction: Tensor = self.pipe.unet(
                (z * step.input_scale).to(self.dtype),
                torch.tensor(step.timestep, dtype=torch.float32, device=z.device),
                encoder_hidden_states=embeddings["text"],
                timestep_cond=embeddings.get("timestep_cond"),
                added_cond_kwargs=self._added(embeddings),
                return_dict=False,
            )[0]
            return prediction.float()

        return guided(network, latents, condition)

    def release(self) -> None:
        """See `Backbone.release`."""
        self.pipe.maybe_free_model_hooks()

    def _encode_prompts(
        self, prompts: Sequence[str], negatives: Sequence[str] | None, with_negative: bool, size: tuple[int, int]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        text, negative_text = self.pipe.encode_prompt(
            prompt=list(prompts),
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=with_negative,
            negative_prompt=None if negatives is None else list(negatives),
        )
        return {"text": text}, {"text": negative_text} if with_negative else None

    def _added(self, embeddings: Embeddings) -> dict[str, Tensor] | None:
        return None

    def _latent_statistics(self, latents: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Mean and deviation of the autoencoder's latents, which the network sees standardised."""
        config = self.pipe.vae.config
        if getattr(config, "latents_mean", None) is None or getattr(config, "latents_std", None) is None:
            return 0.0, 1.0 / config.scaling_factor
        mean, deviation = (
            torch.tensor(values, dtype=torch.float32, device=latents.device).view(1, -1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, deviation / config.scaling_factor

    @contextmanager
    def _vae(self) -> Iterator[Any]:
        """The autoencoder, in float32 for as long as it is used if it overflows in float16 (SDXL's does)."""
        vae = self.pipe.vae
        with _UPCASTING:
            if vae.dtype != torch.float16 or not getattr(vae.config, "force_upcast", False):
                yield vae
                return
            tensors = [*vae.parameters(), *vae.buffers()]
            dtypes = [t.dtype for t in tensors]
            # Not the model's own `to`, which warns of modules that it would rather keep.
            torch.nn.Module.to(vae, dtype=torch.float32)
            try:
                yield vae
            finally:
                for tensor, dtype in zip(tensors, dtypes, strict=True):
                    tensor.data = tensor.data.to(dtype)


class StableDiffusionXLBackbone(StableDiffusionBackbone):
    """SDXL: two text encoders, a pooled embedding, and the picture's size as a condition."""

    components: ClassVar[tuple[str, ...]] = (
        *StableDiffusionBackbone.components,
        "text_encoder_2",
        "tokenizer_2",
    )
    default_side: ClassVar[int] = 128

    def _encode_prompts(
        self, prompts: Sequence[str], negatives: Sequence[str] | None, with_negative: bool, size: tuple[int, int]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        text, negative_text, pooled, negative_pooled = self.pipe.encode_prompt(
            prompt=list(prompts),
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=with_negative,
            negative_prompt=None if negatives is None else list(negatives),
        )
        # original size, top-left crop and target size: the whole picture, as the pipeline's own call has it
        sizes = torch.tensor([[*size, 0, 0, *size]], dtype=text.dtype, device=self.device).repeat(len(prompts), 1)
        positive = {"text": text, "pooled": pooled, "sizes": sizes}
        if not with_negative:
            return positive, None
        return positive, {"text": negative_text, "pooled": negative_pooled, "sizes": sizes}

    def _added(self, embeddings: Embeddings) -> dict[str, Tensor] | None:
        return {"text_embeds": embeddings["pooled"], "time_ids": embeddings["sizes"]}
