"""Tell which targets of an edit ask for nothing but the source: for them the edit is the source, to the last bit."""

from __future__ import annotations

import torch
from torch import Tensor

from renoise.backbones import Request, family_of
from renoise.embeddings import NEGATIVE
from renoise.model import Model

_SETTINGS = ("true_cfg_scale", "size", "clip_skip", "guidance_rescale")


def asked_alike(request: Request, source: Request, model: Model) -> Tensor:
    """Tell which images two requests ask for in the same way.

    Args:
        request: what the images of an edit shall show.
        source: what the images of the inversion showed, for each of them.
        model: tells which guidance scales and negative prompts count.

    Returns:
        Boolean (B,).
    """
    family = family_of(model.pipe)
    built_in = family is not None and family.built_in_guidance(model.pipe) is not None
    guided, guides = (model.backbone.guides(each.guidance_scale, each.true_cfg_scale) for each in (source, request))
    alike = torch.tensor([a == b for a, b in zip(request.prompts, source.prompts, strict=True)])
    # All scales that are no guidance are the same.
    settings = (*_SETTINGS, "guidance_scale") if guided or guides or built_in else _SETTINGS
    if any(getattr(request, name) != getattr(source, name) for name in settings):
        return torch.zeros_like(alike)
    if guided:
        unsaid = [None] * len(alike)
        negatives = zip(request.negative_prompts or unsaid, source.negative_prompts or unsaid, strict=True)
        alike &= torch.tensor([a == b for a, b in negatives])
    for name in {*request.text_embeds, *source.text_embeds}:
        if guided or name not in NEGATIVE:
            alike &= _same_rows(request.text_embeds.get(name), source.text_embeds.get(name))
    shown, others = request.image_embeds or (), source.image_embeds or ()
    if len(shown) != len(others):
        return torch.zeros_like(alike)
    for a, b in zip(shown, others, strict=True):
        # First the rows of no image, and then those of the images: one for each, or one for all.
        halves, others_halves = a.chunk(2), b.chunk(2)
        if any(len(rows) not in (1, len(alike)) for rows in (*halves, *others_halves)):
            return torch.zeros_like(alike)
        for half, other in zip(halves, others_halves, strict=False):
            alike &= _same_rows(*(rows.expand(len(alike), *rows.shape[1:]) for rows in (half, other)))
    return alike


def _same_rows(a: Tensor | None, b: Tensor | None) -> Tensor:
    """Tell which rows of two tensors are equal, boolean (rows,); none of tensors of different shapes."""
    if a is None or b is None or a.shape != b.shape:
        return torch.tensor(False)
    return (a == b.to(a.device, a.dtype)).flatten(1).all(dim=1).cpu()
