"""Embeddings of text that take the place of prompts, by the names that diffusers' pipelines give them.

Users make them to weigh words, to read prompts that are longer than the text encoder takes, or where the text encoders
are not in memory. Each has a row for all images, or one for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from renoise.checks import FINITE, require_finite
from renoise.errors import Argument, ConfigError, Part

# The embeddings of the tokens and the pooled one, of prompts and of negative prompts.
POSITIVE = ("prompt_embeds", "pooled_prompt_embeds")
NEGATIVE = ("negative_prompt_embeds", "negative_pooled_prompt_embeds")
NAMES = (*POSITIVE, *NEGATIVE)

TextEmbeds = Mapping[str, Tensor]


class GivenEmbeds(TypedDict, total=False):
    """The embeddings that `Editor.invert` and `Editor.edit` take; None is none."""

    prompt_embeds: Tensor | None
    pooled_prompt_embeds: Tensor | None
    negative_prompt_embeds: Tensor | None
    negative_pooled_prompt_embeds: Tensor | None


def given(
    embeds: Mapping[str, Any], prompt: Any, negative_prompt: Any, widths: tuple[int | None, int | None] | None
) -> dict[str, Tensor]:
    """Check the embeddings that a caller gave, and return those that are there.

    Args:
        embeds: tensors or None by `NAMES`: (rows, tokens, width), and (rows, width) for the pooled ones.
        prompt: the prompt beside them; empty or None is none.
        negative_prompt: the negative prompt beside them; None is none.
        widths: what the network takes (see `renoise.backbones.Backbone.text_widths`).

    Returns:
        Float32 tensors on the CPU.

    Raises:
        ConfigError: if they do not fit each other or the network, or come beside a prompt.
        NumericalError: for NaN or infinity in them.
        TypeError: for a name that is none of them, as Python has it.
    """
    unknown = sorted(set(embeds) - set(NAMES))
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}")
    found = {name: embeds[name] for name in NAMES if embeds.get(name) is not None}
    if not found:
        return {}
    if widths is None:
        raise ConfigError(
            Argument(next(iter(found))),
            " is not for models of this family, whose pipelines make more than one tensor of a prompt",
            remedy="give a prompt",
        )
    if "prompt_embeds" in found and prompt:
        raise _both("prompt")
    if "negative_prompt_embeds" in found and negative_prompt is not None:
        raise _both("negative_prompt")
    for tokens, pooled in (POSITIVE, NEGATIVE):
        _require_pair(tokens, pooled, found, takes_pooled=widths[1] is not None)
        for name, dimensions, width in ((tokens, 3, widths[0]), (pooled, 2, widths[1])):
            if name in found:
                _require_shape(name, found[name], dimensions, width)
        if pooled in found and len(found[pooled]) != len(found[tokens]):
            raise ConfigError(
                Argument(pooled), f" has {len(found[pooled])} rows, and ", Argument(tokens), f" {len(found[tokens])}"
            )
    if all(tokens in found for tokens in (POSITIVE[0], NEGATIVE[0])):
        lengths = [found[tokens].shape[1] for tokens in (POSITIVE[0], NEGATIVE[0])]
        if lengths[0] != lengths[1]:
            raise ConfigError(
                Argument("prompt_embeds"),
                f" has {lengths[0]} tokens, and ",
                Argument("negative_prompt_embeds"),
                f" {lengths[1]}",
                remedy="bring both to one length, for example with compel's pad_conditioning_tensors_to_same_length",
            )
    for name, tensor in found.items():
        require_finite(tensor, name, remedy=FINITE)
    return {name: tensor.detach().to("cpu", torch.float32) for name, tensor in found.items()}


def wording(prompt: Any, embeds: TextEmbeds) -> Any:
    """Return the target prompts of an edit, or empty ones for embeddings in their place.

    Raises:
        ConfigError: if there are neither.

    Examples:
        >>> wording(None, {"prompt_embeds": torch.zeros(2, 77, 8)}), wording("a dog", {})
        (['', ''], 'a dog')
    """
    if "prompt_embeds" in embeds:
        rows = embeds["prompt_embeds"].shape[0]
        return "" if rows == 1 else [""] * rows
    if prompt is None:
        raise ConfigError(
            "an edit wants a target prompt",
            argument="prompt",
            remedy=("say what the image shall show, or give ", Argument("prompt_embeds")),
        )
    return prompt


def for_images(embeds: TextEmbeds, count: int) -> dict[str, Tensor]:
    """Return embeddings with a row for each of `count` images, from those with one for each or one for all.

    Raises:
        ConfigError: if they have neither.

    Examples:
        >>> {name: tuple(t.shape) for name, t in for_images({"prompt_embeds": torch.zeros(1, 77, 8)}, 2).items()}
        {'prompt_embeds': (2, 77, 8)}
    """
    return {name: _rows(name, tensor, {count: range(count)}, count) for name, tensor in embeds.items()}


def for_targets(positive: TextEmbeds, negative: TextEmbeds, owners: Sequence[int], count: int) -> dict[str, Tensor]:
    """Return embeddings with a row for each target of an edit.

    Args:
        positive: those of `POSITIVE`, with a row for each target or one for all.
        negative: those of `NEGATIVE`, with a row for each image, for each target, or one for all.
        owners: for each target the index of its image.
        count: the number of images.

    Raises:
        ConfigError: if they have other numbers of rows.
    """
    targets = len(owners)
    own = {name: _rows(name, tensor, {targets: range(targets)}, targets) for name, tensor in positive.items()}
    by_rows = {targets: range(targets), count: owners}
    return own | {name: _rows(name, tensor, by_rows, targets) for name, tensor in negative.items()}


def require_sense(embeds: TextEmbeds, count: int) -> None:
    """Check embeddings of an inversion of `count` images, which may come from a file.

    Raises:
        ConfigError: for what no inversion has.
    """
    for name, tensor in embeds.items():
        dimensions = 2 if "pooled" in name else 3
        if not tensor.is_floating_point() or tensor.ndim != dimensions or tensor.shape[0] not in (1, count):
            raise ConfigError(f"its {name} make no sense")
        if not tensor.numel() or not bool(torch.isfinite(tensor).all()):
            raise ConfigError(f"its {name} make no sense")
    for tokens, pooled in (POSITIVE, NEGATIVE):
        if pooled in embeds and tokens not in embeds:
            raise ConfigError(f"its {pooled} make no sense")


def _rows(name: str, tensor: Tensor, chosen: Mapping[int, Sequence[int]], wanted: int) -> Tensor:
    if tensor.shape[0] in chosen:
        return tensor[list(chosen[tensor.shape[0]])]
    if tensor.shape[0] == 1:
        return tensor.expand(wanted, *tensor.shape[1:])
    rows = " or ".join(map(str, sorted({1, *chosen})))
    raise ConfigError(
        Argument(name), f" must have {rows} row{'' if rows == '1' else 's'} for these images, not {tensor.shape[0]}"
    )


def _both(prompt: str) -> ConfigError:
    return ConfigError(
        Argument(prompt), " and ", Argument(f"{prompt}_embeds"), " were both given", remedy="give one of them"
    )


def _require_pair(tokens: str, pooled: str, found: Mapping[str, Any], *, takes_pooled: bool) -> None:
    if pooled in found and not takes_pooled:
        raise ConfigError(Argument(pooled), " is not for this model, which takes no pooled embedding")
    lacking = pooled if tokens in found and takes_pooled and pooled not in found else None
    lacking = tokens if pooled in found and tokens not in found else lacking
    if lacking is not None:
        beside: Part = Argument(tokens if lacking == pooled else pooled)
        raise ConfigError(
            Argument(lacking), " is missing beside ", beside, remedy="give both, from the same call of encode_prompt"
        )


def _require_shape(name: str, tensor: Any, dimensions: int, width: int | None) -> None:
    form = f"({'rows, tokens, ' if dimensions == 3 else 'rows, '}{'width' if width is None else width})"
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        found = f"of {tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ConfigError(Argument(name), f" must be a floating-point tensor {form}, not {found}")
    if tensor.layout != torch.strided or tensor.is_meta:
        kind = "a meta" if tensor.is_meta else "a sparse"
        raise ConfigError(Argument(name), f" must be an ordinary tensor {form} with values, not {kind} one")
    shape = tuple(tensor.shape)
    if len(shape) != dimensions or not tensor.numel() or width not in (None, shape[-1]):
        raise ConfigError(Argument(name), f" must be a tensor {form} for this model, not {shape}")
