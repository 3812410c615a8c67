"""A pipeline behind its family's backbone, with all that comes out of it checked: what walks are made with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from renoise import images
from renoise.backbones import backbone_for
from renoise.backbones.base import Condition, Request
from renoise.checks import FINITE, dtype_name, require_finite, require_latents
from renoise.config import InversionConfig
from renoise.errors import ConfigError
from renoise.images import Fit
from renoise.inversion import PredictAt
from renoise.schedulers import require_kind, steps_for
from renoise.steps import Step


class Model:
    """What an `Editor` works with, and ways to invert beside it (`renoise.evaluation.outside`).

    Args:
        pipe: a diffusers pipeline of a supported family.

    Attributes:
        pipe: that pipeline.
        backbone: its family's adapter.

    Raises:
        ModelError: if the pipeline's family is not supported.
    """

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.backbone = backbone_for(pipe)

    def start(self, image: Any, latents: Tensor | None, fit: str = "crop") -> tuple[Tensor, tuple[Fit, ...], bool]:
        """z_0 on the network's device, how the images were fitted, and whether they are a batch.

        Args:
            image: an image or several, or None.
            latents: what takes their place, (B, C, h, w), or None.
            fit: how images are fitted (see `images.fit_to`).

        Raises:
            ConfigError: unless there is exactly one of the two, and it can be used.
            ImageError: if an image cannot be read.
            NumericalError: for NaN or infinity.
        """
        if (image is None) == (latents is None):
            raise ConfigError("invert takes either an image or latents: give exactly one of them")
        images.require_fit(fit)
        if latents is None:
            pictures, batched = images.load_all(image)
            return *self.encode(pictures, fit), batched
        self.require_latents(latents)
        z_0 = latents.detach().to(self.backbone.device, torch.float32)
        require_finite(z_0, "the given latents", remedy=FINITE)
        return z_0, (Fit("latents", self.pixels(z_0)),) * len(z_0), len(z_0) > 1

    def fitted(self, picture: Image.Image, fit: str) -> tuple[Image.Image, Fit]:
        """An image as the network sees it, and how it was brought there."""
        grid = self.backbone.latent_scale * self.backbone.latent_multiple
        return images.fit_to(picture, self.backbone.resolution, fit, grid)

    def encode(self, pictures: Sequence[Image.Image], fit: str) -> tuple[Tensor, tuple[Fit, ...]]:
        """Latents z_0 of images, float32 (B, C, h, w), and how each was fitted.

        Raises:
            ConfigError: if kept images have several sizes.
            NumericalError: if the autoencoder overflows.
        """
        fitted, fits = zip(*(self.fitted(picture, fit) for picture in pictures), strict=True)
        sizes = sorted({f"{p.width} x {p.height}" for p in fitted})
        if len(sizes) > 1:
            raise ConfigError(
                f"images that keep their size share a batch only if it is one size, not {', '.join(sizes)}; invert "
                'them one by one, or use fit="pad", "crop" or "stretch"'
            )
        with self.released():
            latents = self.backbone.encode(images.to_tensor(fitted)).to(self.backbone.device, torch.float32)
            self.require_finite(latents, "the autoencoder's latents")
        return latents, fits

    def decode(self, latents: Tensor) -> Tensor:
        """Images of latents, float32 (B, 3, H, W) in [0, 1].

        Raises:
            ConfigError: if they are no latents of this model.
            NumericalError: if the autoencoder overflows.
        """
        self.require_latents(latents)
        with self.released():
            pixels = self.backbone.decode(latents.to(self.backbone.device, torch.float32))
            self.require_finite(pixels, "the decoded image")
        return pixels

    def image_embeds(self, image: Any, embeds: Sequence[Tensor] | None) -> tuple[Tensor, ...] | None:
        """What IP-Adapters are shown, as embeddings in float32 on the CPU; None if nothing is.

        Raises:
            ConfigError: if both come, or they cannot be used.
            NumericalError: for NaN or infinity in them.
        """
        if image is not None and embeds is not None:
            raise ConfigError("give either ip_adapter_image or ip_adapter_image_embeds, not both")
        if image is not None:
            with self.released():
                embeds = self.backbone.embed_images(image)
        if embeds is None:
            return None
        given = [embeds] if isinstance(embeds, Tensor) else list(embeds)
        if not all(isinstance(t, Tensor) and t.ndim >= 3 for t in given):
            raise ConfigError(
                "ip_adapter_image_embeds must be a list of tensors, one for each IP-Adapter, of at least three "
                "dimensions: (rows, images, width)"
            )
        for t in given:
            require_finite(t, "the embeddings for the IP-Adapter", remedy=FINITE)
        return tuple(t.detach().to("cpu", torch.float32) for t in given)

    def condition(self, request: Request) -> Condition:
        """Encode the prompts of a batch.

        Raises:
            ConfigError: if the request does not fit the model.
            NumericalError: if a text encoder overflows.
        """
        self._require_understood(request)
        condition = self.backbone.condition(request)
        encoders = {name: part for name, part in self.pipe.components.items() if name.startswith("text_encoder")}
        dtypes = sorted({dtype_name(part.dtype) for part in encoders.values() if part is not None})
        for embeddings in (condition.positive, condition.negative or {}):
            for name, embedding in embeddings.items():
                require_finite(
                    embedding,
                    f"the {name} embeddings of the prompts",
                    f"text encoders in {' and '.join(dtypes)}, network in {dtype_name(self.backbone.dtype)}",
                    "load the model with dtype bfloat16 or float32",
                )
        return condition

    def _require_understood(self, request: Request) -> None:
        """Refuse what the family would pass over without a word."""
        if request.true_cfg_scale != 1.0 and not self.backbone.takes_true_cfg:
            raise ConfigError(
                f"true_cfg_scale={request.true_cfg_scale:g} is for models with guidance built in, such as Flux; use "
                "guidance_scale, which is classifier-free guidance here"
            )
        given, carried = len(request.image_embeds or ()), self.backbone.ip_adapters
        if given == carried:
            return
        if not given:
            raise ConfigError(
                "the network carries an IP-Adapter, which wants an image: give ip_adapter_image or "
                "ip_adapter_image_embeds, or call pipe.unload_ip_adapter() first"
            )
        advice = "give one for each" if carried else "load one with pipe.load_ip_adapter(...), or leave them out"
        raise ConfigError(f"{given} images or embeddings were given for {carried} IP-Adapters; {advice}")

    def steps(self, scheduler: Any, config: InversionConfig, size: tuple[int, int]) -> tuple[Step, ...]:
        """A scheduler's steps for images of `size` (height, width), as the family's pipeline would have them.

        Raises:
            SchedulerError: if it cannot be inverted, or samples another kind of model.
        """
        require_kind(scheduler, flow=self.backbone.flow)
        schedule = self.backbone.schedule(scheduler, config.num_steps, size)
        return steps_for(scheduler, config.num_steps, eta=config.eta, strength=config.strength, **schedule)

    def predict_with(self, condition: Condition, steps: Sequence[Step] = ()) -> PredictAt:
        """The network under a condition; `steps` are those of the walk, among which a failure is placed."""

        def predict(latents: Tensor, step: Step) -> Tensor:
            prediction = self.backbone.predict(latents, step, condition)
            self.require_finite(prediction, f"the network's prediction {place(step, steps)}")
            return prediction

        return predict

    def pixels(self, latents: Tensor) -> tuple[int, int]:
        """(height, width) of the images that latents stand for."""
        height, width = latents.shape[-2:]
        return height * self.backbone.latent_scale, width * self.backbone.latent_scale

    def require_latents(self, latents: Any) -> None:
        """Raise a `ConfigError` for anything but latents (B, C, h, w) of this model."""
        require_latents(latents, self.backbone.latent_channels, self.backbone.latent_multiple)

    def require_finite(self, tensor: Tensor, what: str) -> None:
        """Raise a `NumericalError` for NaN or infinity in what the network made."""
        dtype = self.backbone.dtype
        remedy = "use more steps, fewer renoising iterations or a lower guidance scale"
        if dtype == torch.float16:
            remedy = "load the model with dtype float32 or bfloat16"
        require_finite(tensor, what, f"network in {dtype_name(dtype)}", remedy)

    @contextmanager
    def released(self) -> Iterator[None]:
        """Let the pipeline's offloading hooks move the networks away again afterwards, whatever happens."""
        try:
            yield
        finally:
            self.backbone.release()


def place(step: Step, steps: Sequence[Step]) -> str:
    """Where a walk stands, in words."""
    among = f"at step {steps.index(step) + 1} of {len(steps)}, " if step in steps else "at "
    return f"{among}timestep {step.timestep:g}"
