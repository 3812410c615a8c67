"""Chroma: a mask of the text that goes on over the image, and IP-Adapters as FLUX.1 has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from parity import PROMPTS, ours, relative, start, theirs
from renoise import Editor
from renoise.backbones.base import Request
from tiny_pipelines import BUILDERS, image_encoder, ip_adapter


def test_the_mask_ends_after_one_token_of_padding_and_begins_again_with_the_image() -> None:
    editor = Editor(BUILDERS["chroma"]())
    backbone: Any = editor.model.backbone
    condition = backbone.condition(Request(["a cat"], None, 1.0, (64, 64)))
    tokens = len(editor.pipe.tokenizer("a cat").input_ids)
    assert condition.positive["mask"].sum().item() == tokens + 1
    given = backbone.inputs(torch.zeros(1, 64, 64), torch.ones(1), condition.positive, (8, 8))
    assert given["attention_mask"].shape == (1, 512 + 64)
    assert given["attention_mask"].sum().item() == tokens + 1 + 64


def test_the_schedule_is_shifted_where_its_scheduler_says_so() -> None:
    pipe = BUILDERS["chroma"]()
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, use_dynamic_shifting=True)
    editor = Editor(pipe)
    latents = start(editor, 1)
    expected = theirs(pipe, latents, PROMPTS[:1], guidance_scale=1.0)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=1.0), expected) < 1e-4


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_an_ip_adapter_is_shown_the_image_as_by_the_pipeline(
    scale: float, tmp_path: Path, picture: Image.Image
) -> None:
    pipe: Any = BUILDERS["chroma"]()
    pipe.register_modules(**image_encoder(pipe))
    pipe.load_ip_adapter(tmp_path, **ip_adapter(pipe, tmp_path))
    editor = Editor(pipe)
    latents = start(editor, 2)
    expected = theirs(pipe, latents, PROMPTS[:2], guidance_scale=scale, ip_adapter_image=picture)
    shown = {"guidance_scale": scale, "image_embeds": editor.embed_images(picture)}
    drawn = ours(editor, latents, PROMPTS[:2], None, **shown)
    assert relative(drawn, expected) < 1e-4
    other = editor.embed_images(picture.rotate(90).convert("L").convert("RGB"))
    assert relative(ours(editor, latents, PROMPTS[:2], None, **{**shown, "image_embeds": other}), expected) > 1e-3
