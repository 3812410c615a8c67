"""IP-Adapters (Ye et al., 2023, arXiv 2308.06721): networks that are shown pictures beside the prompt.

An adapter's embedding is a tensor whose first half belongs to no picture, for classifier-free guidance, and whose
second half to the picture, as diffusers has it with guidance. Each half has one row for all pictures of a batch, or
one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from renoise.backbones.base import Embeddings
from renoise.errors import ConfigError, RenoiseError, reason

_PREFIX = "image_"


def embed(pipe: Any, images: Any, device: torch.device) -> Sequence[Tensor]:
    """Embeddings of pictures by a pipeline's own method that takes `do_classifier_free_guidance`.

    Raises:
        ConfigError: if there is nothing to embed them with, or they do not fit the adapters.
    """
    require_encoder(pipe)
    try:
        embeds = pipe.prepare_ip_adapter_image_embeds(images, None, device, 1, True)
    except RenoiseError:
        raise
    except Exception as error:  # diffusers hands whatever it was given to the image processor
        raise unusable(error) from error
    return [embeds] if isinstance(embeds, Tensor) else list(embeds)


def require_encoder(pipe: Any) -> None:
    """Raise a `ConfigError` if a pipeline cannot look at pictures."""
    if getattr(pipe, "image_encoder", None) is None or getattr(pipe, "feature_extractor", None) is None:
        raise ConfigError(
            "the pipeline has no image_encoder and feature_extractor to look at ip_adapter_image with; load the "
            "IP-Adapter with its image encoder, or give ip_adapter_image_embeds"
        )


def unusable(error: Exception) -> ConfigError:
    """What to say of pictures that a pipeline cannot embed."""
    return ConfigError(
        f"ip_adapter_image cannot be used ({' '.join(reason(error).split())[:200]}); give one PIL picture, or a list "
        "with one for each IP-Adapter"
    )


def rows(image_embeds: Sequence[Tensor] | None, adapters: int, count: int) -> tuple[Embeddings, Embeddings]:
    """Embeddings as conditions of `count` pictures, positive and negative.

    Args:
        image_embeds: see the module; None if none came.
        adapters: how many the network carries.
        count: the number of pictures, B.

    Raises:
        ConfigError: if there are not as many embeddings as adapters, or their rows do not fit the pictures.
    """
    given = [] if image_embeds is None else list(image_embeds)
    if len(given) != adapters:
        if not given:
            raise ConfigError(
                "the network carries an IP-Adapter, which wants a picture: give ip_adapter_image or "
                "ip_adapter_image_embeds, or call pipe.unload_ip_adapter() first"
            )
        raise ConfigError(
            f"{len(given)} pictures or embeddings for IP-Adapters were given, but the network carries {adapters}"
            + (
                "; load one with pipe.load_ip_adapter(...), or leave them out"
                if not adapters
                else "; give one for each"
            )
        )
    positive, negative = {}, {}
    for index, embeds in enumerate(given):
        if embeds.shape[0] not in (2, 2 * count):
            raise ConfigError(
                f"ip_adapter_image_embeds must have 2 or {2 * count} rows for {count} pictures, those of no picture "
                f"first (as with do_classifier_free_guidance=True), not {embeds.shape[0]}"
            )
        halves = embeds.chunk(2)
        if halves[0].shape[0] != count:
            halves = tuple(half.expand(count, *half.shape[1:]) for half in halves)
        negative[f"{_PREFIX}{index}"], positive[f"{_PREFIX}{index}"] = halves
    return positive, negative


def of(embeddings: Embeddings) -> list[Tensor]:
    """The embeddings of pictures among the conditions of a prediction, one for each adapter."""
    return [t for name, t in embeddings.items() if name.startswith(_PREFIX)]
