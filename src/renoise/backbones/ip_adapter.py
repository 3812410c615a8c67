"""IP-Adapters (Ye et al., 2023, arXiv 2308.06721): networks that are shown images besides the prompt.

An adapter's embedding is a tensor whose first half belongs to no image, for classifier-free guidance, and whose
second half to the image, as diffusers has it with guidance. Each half has one row for all images of a batch, or
one for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from renoise.backbones.base import Embeddings
from renoise.errors import Argument, ConfigError, RenoiseError, reason

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PREFIX = "image_"


def embed(pipe: Any, images: Any, method: Callable[[Any], Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Embed images by a pipeline's own method.

    Args:
        pipe: the pipeline.
        images: what the pipeline's call takes for `ip_adapter_image`.
        method: the method that embeds them.

    Raises:
        ConfigError: if the pipeline has no image encoder, or the images do not fit the adapters.
    """
    if getattr(pipe, "image_encoder", None) is None or getattr(pipe, "feature_extractor", None) is None:
        raise ConfigError(
            "the pipeline has no image_encoder and feature_extractor to look at ",
            Argument("ip_adapter_image"),
            " with",
            remedy=("load the IP-Adapter with its image encoder, or give ", Argument("ip_adapter_image_embeds")),
        )
    try:
        return tuple(method(images))
    except RenoiseError:
        raise
    except Exception as error:  # diffusers hands whatever it was given to the image processor
        raise ConfigError(
            Argument("ip_adapter_image"),
            f" cannot be used ({' '.join(reason(error).split())[:200]})",
            remedy="give one PIL image, or a list with one for each IP-Adapter",
        ) from error


def rows(
    image_embeds: Sequence[Tensor] | None, projections: Sequence[torch.nn.Module], count: int
) -> tuple[Embeddings, Embeddings]:
    """Return embeddings as conditions of `count` images, positive and negative.

    Args:
        image_embeds: one tensor for each projection, as the module says; None if none came.
        projections: the network's layers that take them in.
        count: the number of images, B.

    Raises:
        ConfigError: if their rows do not fit the images, or their width the network.
    """
    import torch

    positive, negative = {}, {}
    for index, (embeds, projection) in enumerate(zip(image_embeds or (), projections, strict=True)):
        expected = sorted({2, 2 * count})
        if embeds.shape[0] not in expected:
            raise ConfigError(
                Argument("ip_adapter_image_embeds"),
                f" must have {' or '.join(map(str, expected))} rows for {count} images, the first half those of no "
                f"image, not {embeds.shape[0]}",
                remedy="make them with editor.embed_images",
            )
        width = next((m.in_features for m in projection.modules() if isinstance(m, torch.nn.Linear)), None)
        if width not in (None, embeds.shape[-1]):
            raise ConfigError(
                Argument("ip_adapter_image_embeds"),
                f" have a width of {embeds.shape[-1]}, but the IP-Adapter takes {width}",
                remedy="embed the image with the image encoder that the adapter was made for",
            )
        halves = [half.expand(count, *half.shape[1:]) for half in embeds.chunk(2)]
        negative[f"{_PREFIX}{index}"], positive[f"{_PREFIX}{index}"] = halves
    return positive, negative


def of(embeddings: Embeddings) -> list[Tensor]:
    """Return the embeddings of images among the conditions of a prediction, one for each adapter."""
    return [t for name, t in embeddings.items() if name.startswith(_PREFIX)]
