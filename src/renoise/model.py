"""A pipeline behind its family's backbone, with all that comes out of it checked: what walks are made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from renoise import images
from renoise.backbones import backbone_for, lengths
from renoise.backbones.base import Condition, Request
from renoise.checks import FINITE, dtype_name, is_finite, not_finite, require_finite, require_latents, require_numbers
from renoise.config import InversionConfig
from renoise.embeddings import given as given_embeds
from renoise.errors import Argument, ConfigError, NumericalError, Parts
from renoise.failing import in_network
from renoise.images import Fit
from renoise.modes import evaluating
from renoise.network import Network, Watch
from renoise.schedulers import require_kind, steps_for
from renoise.schedulers.custom import Custom
from renoise.steps import Step


@dataclass(frozen=True, eq=False)
class Prepared:
    """Images as a model sees them, read, fitted and encoded once for all that is done with them.

    Attributes:
        images: the fitted images; empty where latents came in their place.
        fits: how each image was brought to its size.
        latents: z_0, float32 (B, C, h, w), on the network's device.
        batched: whether a list of images came in, so that a list goes out.
        originals: the images in the shape in which edits of them come back; empty where latents came in their place.
    """

    images: tuple[Image.Image, ...]
    fits: tuple[Fit, ...]
    latents: Tensor
    batched: bool
    originals: tuple[Image.Image, ...] = ()

    @property
    def pixels(self) -> tuple[Tensor, ...] | None:
        """The originals as bytes, uint8 (3, H, W) each; None where latents came in their place."""
        return tuple(images.to_bytes(image) for image in self.originals) or None


class Model:
    """A pipeline for an `Editor` and for the ways to invert beside it (`renoise.evaluation.outside`).

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

    def prepare(self, image: Any, latents: Tensor | None, fit: str = "crop") -> Prepared:
        """Read, fit and encode images, or take latents in their place.

        Args:
            image: an image or several, what `prepare` made of them, or None.
            latents: latents in place of images, (B, C, h, w), or None.
            fit: how images are fitted (see `images.fit_to`).

        Raises:
            ConfigError: unless there is exactly one of image and latents, and it can be used.
            ImageError: if an image cannot be read.
            ModelError: if the autoencoder cannot be run.
            NumericalError: for NaN or infinity.
        """
        if (image is None) == (latents is None):
            raise ConfigError(
                "either an image or latents are taken", argument="image", remedy="give exactly one of them"
            )
        images.require_fit(fit)
        if isinstance(image, Prepared):
            self.require_latents(image.latents)
            return replace(image, latents=image.latents.to(self.backbone.device))
        if latents is None:
            loaded, batched = images.load_all(image)
            fitted, fits = zip(*(self.fitted(one, fit) for one in loaded), strict=True)
            originals = tuple(
                one if fit.mode == "pad" else images.unfit(seen, fit)
                for one, seen, fit in zip(loaded, fitted, fits, strict=True)
            )
            return Prepared(fitted, fits, self._encoded(fitted), batched, originals)
        self.require_latents(latents)
        z_0 = latents.detach().to(self.backbone.device, torch.float32)
        require_finite(z_0, "the given latents", remedy=FINITE)
        return Prepared((), (Fit("latents", self.pixels(z_0)),) * len(z_0), z_0, len(z_0) > 1)

    def prepare_like(self, image: Any, fits: Sequence[Fit], size: tuple[int, int]) -> Prepared:
        """Read, fit and encode images as an inversion's images were, to compare with what it draws.

        Args:
            image: an image or several.
            fits: how each was fitted.
            size: (height, width) of what the model that inverted them saw.

        Raises:
            ConfigError: if there are not as many images as fits.
            ImageError: if an image cannot be read.
            NumericalError: if the autoencoder overflows.
        """
        loaded, batched = images.load_all(image)
        if len(loaded) != len(fits):
            raise ConfigError(f"the inversion holds {len(fits)} images, not {len(loaded)}", argument="image")
        fitted = tuple(images.refit(one, fit, size) for one, fit in zip(loaded, fits, strict=True))
        # Another model may have a coarser grid, to which images are filled up.
        on_grid = [self.fitted(one, "keep")[0] for one in fitted]
        return Prepared(fitted, tuple(fits), self._encoded(on_grid), batched)

    def fitted(self, image: Image.Image, fit: str) -> tuple[Image.Image, Fit]:
        """Fit an image to the network, and tell how that was done."""
        grid = self.backbone.latent_scale * self.backbone.latent_multiple
        return images.fit_to(image, self.backbone.resolution, fit, grid)

    def _encoded(self, fitted: Sequence[Image.Image]) -> Tensor:
        sizes = sorted({f"{image.width} x {image.height}" for image in fitted})
        if len(sizes) > 1:
            raise ConfigError(
                f"images that keep their size share a batch only if it is one size, not {', '.join(sizes)}",
                argument="fit",
                remedy=(
                    "invert them one by one, or use ",
                    Argument("fit", "pad"),
                    ", ",
                    Argument("fit", "crop"),
                    " or ",
                    Argument("fit", "stretch"),
                ),
            )
        with self.freeing(), in_network("autoencoder"):
            latents = self.backbone.encode(images.to_tensor(fitted)).float()
            self.require_finite(latents, "the autoencoder's latents")
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents to images, float32 (B, 3, H, W) in [0, 1].

        Raises:
            ConfigError: if they are no latents of this model.
            ModelError: if the autoencoder cannot be run.
            NumericalError: if it overflows.
        """
        self.require_latents(latents)
        with self.freeing(), in_network("autoencoder"):
            pixels = self.backbone.decode(latents.to(self.backbone.device, torch.float32))
            self.require_finite(pixels, "the decoded image")
        return pixels

    def image_embeds(self, image: Any, embeds: Sequence[Tensor] | None) -> tuple[Tensor, ...] | None:
        """Return what IP-Adapters are shown, as embeddings in float32 on the CPU; None if nothing is.

        Raises:
            ConfigError: if both come, or they cannot be used.
            NumericalError: for NaN or infinity in them.
        """
        if image is not None and embeds is not None:
            raise ConfigError(
                "an IP-Adapter was given both an image and embeddings",
                argument="ip_adapter_image",
                remedy="give either ip_adapter_image or ip_adapter_image_embeds, not both",
            )
        if image is not None:
            with self.freeing(), in_network("image encoder"):
                embeds = self.backbone.embed_images(image)
        if embeds is None:
            return None
        given = [embeds] if isinstance(embeds, Tensor) else embeds
        if not isinstance(given, (list, tuple)) or not all(isinstance(t, Tensor) and t.ndim >= 3 for t in given):
            raise ConfigError(
                Argument("ip_adapter_image_embeds"),
                " must be a list of tensors, one for each IP-Adapter, of at least three dimensions: "
                "(rows, images, width)",
            )
        for t in given:
            require_numbers(t, "ip_adapter_image_embeds")
            require_finite(t, "the embeddings for the IP-Adapter", remedy=FINITE)
        return tuple(t.detach().to("cpu", torch.float32) for t in given)

    def text_embeds(self, given: Mapping[str, Any], prompt: Any, negative_prompt: Any) -> dict[str, Tensor]:
        """Return the embeddings that were given in place of prompts (see `renoise.embeddings.given`)."""
        return given_embeds(given, prompt, negative_prompt, self.backbone.text_widths)

    def condition(self, request: Request) -> Condition:
        """Encode the prompts of a batch.

        Raises:
            ConfigError: if the request does not fit the model.
            ModelError: if a text encoder cannot be run.
            NumericalError: if a text encoder overflows.

        Warns:
            TruncationWarning: if a prompt is longer than every text encoder reads.
        """
        self._require_understood(request)
        with lengths.unheard(self.pipe), in_network("text encoder"):
            condition = self.backbone.condition(lengths.shortened(self.pipe, request, self.backbone))
        lengths.remark(self.pipe, request, self.backbone, guided=condition.negative is not None)
        for embeddings in (condition.positive, condition.negative or {}):
            for name, embedding in embeddings.items():
                if not is_finite(embedding):
                    raise self._overflow(name)
        return condition

    def _overflow(self, name: str) -> NumericalError:
        """Return the error that embeddings of a prompt are not finite."""
        encoders = {part: cls for part, cls in self.pipe.components.items() if part.startswith("text_encoder")}
        dtypes = sorted({dtype_name(encoder.dtype) for encoder in encoders.values() if encoder is not None})
        return not_finite(
            f"the {name} embeddings of the prompts",
            f"text encoders in {' and '.join(dtypes)}, network in {dtype_name(self.backbone.dtype)}",
            ("load the model with ", Argument("dtype", "bfloat16"), " or ", Argument("dtype", "float32")),
        )

    def _require_understood(self, request: Request) -> None:
        """Refuse what the family would pass over without a word."""
        if request.true_cfg_scale != 1.0 and not self.backbone.takes_true_cfg:
            raise ConfigError(
                Argument("true_cfg_scale", request.true_cfg_scale),
                " is for models whose pipelines take it, such as those of FLUX.1 and Qwen-Image",
                remedy=("use ", Argument("guidance_scale"), ", by which models of this family are guided"),
            )
        if request.clip_skip is not None and not self.backbone.takes_clip_skip:
            raise ConfigError(
                Argument("clip_skip"),
                " is not for models of this family, whose networks do not read CLIP's hidden layers",
                remedy="leave it out",
            )
        if request.guidance_rescale and not self.backbone.takes_guidance_rescale:
            raise ConfigError(
                Argument("guidance_rescale"),
                " is not for models of this family, whose pipelines do not rescale predictions",
                remedy="leave it out",
            )
        given, carried = len(request.image_embeds or ()), self.backbone.ip_adapters
        if given == carried:
            return
        if not given:
            raise ConfigError(
                "the network carries an IP-Adapter, which wants an image",
                argument="ip_adapter_image",
                remedy="give ip_adapter_image or ip_adapter_image_embeds, or call pipe.unload_ip_adapter() first",
            )
        advice = "give one for each" if carried else "load one with pipe.load_ip_adapter(...), or leave them out"
        raise ConfigError(
            f"{given} images or embeddings were given for {carried} IP-Adapters",
            argument="ip_adapter_image",
            remedy=advice,
        )

    def steps(self, scheduler: Any, config: InversionConfig, size: tuple[int, int]) -> tuple[Step, ...]:
        """Return a scheduler's steps for images of `size` (height, width), as the family's pipeline would have them.

        Raises:
            SchedulerError: if it cannot be inverted, or samples another kind of model.
        """
        require_kind(scheduler, kinds=self.backbone.kinds)
        schedule = self.backbone.schedule(scheduler, config.num_steps, size)
        custom = Custom(config.timesteps, config.sigmas)
        steps = steps_for(
            scheduler, config.num_steps, eta=config.eta, strength=config.strength, custom=custom, **schedule
        )
        return tuple(map(self.backbone.restated, steps))

    def network(self, condition: Condition, steps: Sequence[Step] = (), watch: Watch | None = None) -> Network:
        """Return the network under a condition, which counts its passes.

        Args:
            condition: the encoded prompts.
            steps: the steps of the walk, among which a failure is placed.
            watch: is told of each pass.
        """

        def checked(prediction: Tensor, step: Step) -> Tensor:
            self.require_finite(prediction, f"the network's prediction {place(step, steps)}")
            return prediction

        def predict(latents: Tensor, step: Step) -> Tensor:
            with in_network("denoising network"):
                prediction = self.backbone.predict(latents, step, condition)
            return checked(prediction, step)

        def predict_each(latents: Tensor, each: Sequence[Step], images: Sequence[int]) -> Tensor:
            own = condition.of(images)
            with in_network("denoising network"):
                if all(step is each[0] for step in each):
                    prediction = self.backbone.predict(latents, each[0], own)
                else:
                    prediction = self.backbone.predict_each(latents, each, own)
            for step, part in zip(each, torch.split(prediction, 1), strict=True):
                checked(part, step)
            return prediction

        return Network(predict, condition.passes, watch, predict_each)

    def pixels(self, latents: Tensor) -> tuple[int, int]:
        """Return the size (height, width) of the images that latents stand for."""
        height, width = latents.shape[-2:]
        return height * self.backbone.latent_scale, width * self.backbone.latent_scale

    def require_latents(self, latents: Any) -> None:
        """Raise a `ConfigError` for anything but latents (B, C, h, w) of this model."""
        require_latents(latents, self.backbone.latent_channels, self.backbone.latent_multiple)

    def require_finite(self, tensor: Tensor, what: str) -> None:
        """Raise a `NumericalError` for NaN or infinity in what the network made."""
        if is_finite(tensor):
            return
        dtype = self.backbone.dtype
        remedy: Parts = "use more steps, fewer renoising iterations or a lower guidance scale"
        if dtype == torch.float16:
            remedy = ("load the model with ", Argument("dtype", "float32"), " or ", Argument("dtype", "bfloat16"))
        raise not_finite(what, f"network in {dtype_name(dtype)}", remedy)

    @contextmanager
    def freeing(self) -> Iterator[None]:
        """Run the networks in evaluation mode, and let the pipeline's offloading hooks move them away afterwards."""
        with evaluating(self.pipe):
            try:
                yield
            finally:
                self.backbone.release()


def place(step: Step, steps: Sequence[Step]) -> str:
    """Return where a walk stands, in words."""
    among = f"at step {steps.index(step) + 1} of {len(steps)}, " if step in steps else "at "
    return f"{among}timestep {step.timestep:g}"
