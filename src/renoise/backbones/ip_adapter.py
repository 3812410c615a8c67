"""IP-Adapters (Ye et al., 2023, arXiv 2308.06721): networks that are shown images beside the prompt.

An adapter's embedding is a tensor whose first half belongs to no image, for classifier-free guidance, and whose
second half to the image, as diffusers has it with guidance. Each half has one row for all images of a batch, or
one for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from renoise.backbones.base import Embeddings
from renoise.errors import ConfigError, RenoiseError, reason

_PREFIX = "image_"


def embed(pipe: Any, images: Any, own: Callable[[Any], Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Embeddings of images, by a pipeline's own method.

    Args:
        pipe: the pipeline.
        images: what its call takes for `ip_adapter_image`.
        own: that method.

    Raises:
        ConfigError: if there is nothing to embed them with, or they do not fit the adapters.
    """
    if getattr(pipe, "image_encoder", None) is None or getattr(pipe, "feature_extractor", None) is None:
        raise ConfigError(
            "the pipeline has no image_encoder and feature_extractor to look at ip_adapter_image with; load the "
            "IP-Adapter with its image encoder, or give ip_adapter_image_embeds"
        )
    try:
        return tuple(own(images))
    except RenoiseError:
        raise
    except Exception as error:  # diffusers hands whatever it was given to the image processor
        raise ConfigError(
            f"ip_adapter_image cannot be used ({' '.join(reason(error).split())[:200]}); give one PIL image, or a "
            "list with one for each IP-Adapter"
        ) from error


def rows(
    image_embeds: Sequence[Tensor] | None, projections: Sequence[torch.nn.Module], count: int
) -> tuple[Embeddings, Embeddings]:
    """Embeddings as conditions of `count` images, positive and negative.

    Args:
        image_embeds: see the module, one for each projection; None if none came.
        projections: the network's layers that take them in.
        count: the number of images, B.

    Raises:
        ConfigError: if their rows do not fit the images, or their width the network.
    """
    positive, negative = {}, {}
    for index, (embeds, projection) in enumerate(zip(image_embeds or (), projections, strict=True)):
        expected = sorted({2, 2 * count})
        if embeds.shape[0] not in expected:
            raise ConfigError(
                f"ip_adapter_image_embeds must have {' or '.join(map(str, expected))} rows for {count} images, the "
                f"first half those of no image, not {embeds.shape[0]}; editor.embed_images makes them"
            )
        width = next((m.in_features for m in projection.modules() if isinstance(m, torch.nn.Linear)), None)
        if width not in (None, embeds.shape[-1]):
            raise ConfigError(
                f"ip_adapter_image_embeds have a width of {embeds.shape[-1]}, but the IP-Adapter takes {width}; embed "
                "the image with the image encoder that the adapter was made for"
            )
        halves = [half.expand(count, *half.shape[1:]) for half in embeds.chunk(2)]
        negative[f"{_PREFIX}{index}"], positive[f"{_PREFIX}{index}"] = halves
    return positive, negative


def of(embeddings: Embeddings) -> list[Tensor]:
    """The embeddings of images among the conditions of a prediction, one for each adapter."""
    return [t for name, t in embeddings.items() if name.startswith(_PREFIX)]
