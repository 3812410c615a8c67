"""What an editor does with images and latents alone: read, fit, encode, decode and compare."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from renoise import images
from renoise.checks import require_pixels
from renoise.edit_settings import require_inversion, require_output_type
from renoise.errors import ConfigError
from renoise.inversion import Inversion
from renoise.model import Model, Prepared
from renoise.quality import Quality, quality_of
from renoise.torch_defaults import inference


class Autoencoding:
    """The side of an `Editor` that needs no denoising: images to latents and back.

    Args:
        pipe: a diffusers pipeline of a supported family.

    Raises:
        ModelError: if the pipeline's family is not supported.
    """

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.model = Model(pipe)

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

    @inference
    def prepare(self, image: Any, fit: str = "crop") -> Prepared:
        """Read, fit and encode images once for all that is done with them: inverting, measuring, showing.

        Args:
            image: as `invert` takes it.
            fit: as `invert` takes it.

        Raises:
            ImageError: if an image cannot be read.
            ConfigError: if the way to fit it is unknown, or kept images have several sizes.
            NumericalError: if the autoencoder overflows.
        """
        return self.model.prepare(image, None, fit)

    @inference
    def prepare_like(self, inversion: Inversion, image: Any) -> Prepared:
        """Read, fit and encode the images of an inversion as they were fitted then, to compare with its drawings.

        Args:
            inversion: from `invert` or `Inversion.load`.
            image: the images that were inverted, as `invert` takes them.

        Raises:
            ImageError: if an image cannot be read.
            ConfigError: if there are not as many images as the inversion has.
            NumericalError: if the autoencoder overflows.
        """
        require_inversion(inversion)
        return self.model.prepare_like(image, inversion.fits, inversion.size)

    def fit(self, image: Any, fit: str = "crop") -> Any:
        """Return the image as the model sees it (see `invert` for the ways to fit it); a list for a list.

        Raises:
            ImageError: if an image cannot be read.
            ConfigError: if the way to fit it is unknown.
        """
        loaded, batched = images.load_all(image)
        fitted = [self.model.fitted(one, fit)[0] for one in loaded]
        return fitted if batched else fitted[0]

    def encode(self, image: Any, fit: str = "crop") -> Tensor:
        """Return the latents z_0 of one image or many, float32 (B, C, h, w); see `prepare`."""
        return self.prepare(image, fit).latents

    @inference
    def embed_images(self, ip_adapter_image: Any) -> tuple[Tensor, ...]:
        """Return the embeddings of images that IP-Adapters are shown, as `invert` and `edit` take them.

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
            raise ConfigError("embed_images wants an image, not None", argument="ip_adapter_image")
        return embeds

    @inference
    def decode(self, latents: Tensor, output_type: str = "pil") -> Any:
        """Draw the images of latents with the autoencoder.

        Args:
            latents: (B, C, h, w) in the autoencoder's standardised scale, as `encode` returns them.
            output_type: "pil" for a list of images, "np" for an array (B, H, W, 3) and "pt" for a tensor (B, 3, H, W)
                with values in [0, 1], "latent" for the latents themselves.

        Raises:
            NumericalError: if the autoencoder overflows.
        """
        require_output_type(output_type)
        if output_type == "latent":
            self.model.require_latents(latents)
            return latents
        return images.given_out(self.model.decode(latents), output_type)

    @inference
    def quality(self, prepared: Prepared, reconstruction: Tensor) -> tuple[Quality, ...]:
        """Compare reconstructions with their images and with the autoencoder's round trip, as the model sees them.

        Args:
            prepared: the images, from `prepare` or `prepare_like`.
            reconstruction: what `reconstruct` drew of them with `output_type="pt"`, (B, 3, H, W) in [0, 1].

        Raises:
            ConfigError: if there are no images to compare with.
            NumericalError: if the autoencoder overflows.

        Examples:
            >>> prepared = editor.prepare("cat.png")  # doctest: +SKIP
            >>> inversion = editor.invert(prepared, "a cat")  # doctest: +SKIP
            >>> editor.quality(prepared, editor.reconstruct(inversion, "pt"))[0].image  # doctest: +SKIP
            28.1
        """
        if not isinstance(prepared, Prepared) or not prepared.images:
            raise ConfigError(
                "there are no images to compare with", argument="prepared", remedy="make them with prepare"
            )
        require_pixels(reconstruction, len(prepared.images), prepared.images[0].size[::-1])
        return quality_of(reconstruction, images.to_tensor(prepared.images), self.model.decode(prepared.latents))
