"""How much of a prompt is read: by any of the encoders, and what is said where none reads it all."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest
import torch

from renoise import Editor, InversionConfig, Renoising
from renoise.backbones import lengths
from renoise.backbones.base import Request
from renoise.errors import TruncationWarning
from renoise.model import Model
from tiny_pipelines import BUILDERS

# The most letters that each family reads, one token each, and which encoder it is that reads most.
MOST = {
    "sd15-ddim": (75, "77 tokens that the model's text encoder (CLIPTextModel) reads"),
    "sdxl": (75, "77 tokens that the model's text encoder (CLIPTextModel) reads"),
    "lcm": (75, "77 tokens that the model's text encoder (CLIPTextModel) reads"),
    "sd3-no-t5": (75, "77 tokens that the model's text encoder (CLIPTextModelWithProjection) reads"),
    # The blank that T5 puts before a text is a token as well.
    "sd3": (254, "256 tokens that the model's text encoder (T5EncoderModel) reads"),
    "pixart-alpha-ddim": (118, "120 tokens that the model's text encoder (T5EncoderModel) reads"),
    "pixart-sigma-ddim": (298, "300 tokens that the model's text encoder (T5EncoderModel) reads"),
    "flux-dev": (510, "512 tokens that the model's text encoder (T5EncoderModel) reads"),
    # What stands around a prompt takes tokens as well: 17 letters and a special token before it, or a system's message.
    "z-image": (505, "512 tokens that the model's text encoder (Qwen3Model) reads"),
    "flux2-klein": (505, "512 tokens that the model's text encoder (Qwen3ForCausalLM) reads"),
    # A system's prompt of 148 letters, and 16 that mark where the prompt begins.
    "lumina2": (256 - 1 - 148 - 16, "256 tokens that the model's text encoder (Gemma2Model) reads"),
    "chroma": (510, "512 tokens that the model's text encoder (T5EncoderModel) reads"),
    "cogview4": (1022, "1024 tokens that the model's text encoder (GlmModel) reads"),
    "aura-flow": (254, "256 tokens that the model's text encoder (UMT5EncoderModel) reads"),
    # Llama reads as much, and puts no token at the end.
    "hidream": (127, "128 tokens that the model's text encoder (T5EncoderModel) reads"),
}


def request(prompt: str, negative: str | None = None, guidance: float = 1.0) -> Request:
    return Request([prompt], None if negative is None else [negative], guidance, (64, 64))


def said(model: Model, asked: Request) -> list[str]:
    """What is warned of while a request is encoded."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.condition(asked)
    return [str(one.message) for one in caught if isinstance(one.message, TruncationWarning)]


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {name: Model(BUILDERS[name]()) for name in MOST}


@pytest.mark.parametrize("family", MOST)
def test_a_prompt_is_cut_beyond_what_the_longest_reader_takes(models: dict[str, Model], family: str) -> None:
    most, who = MOST[family]
    assert said(models[family], request("a" * most)) == []
    (text,) = said(models[family], request("a" * (most - 1) + " bc"))
    assert text == f"the prompt is longer than the {who}; left out: 'c'" or text.endswith("left out: 'bc'")
    assert who in text


@pytest.mark.parametrize("family", ["sd3", "flux-dev"])
def test_what_clip_leaves_out_counts_where_t5_reads_it(models: dict[str, Model], family: str) -> None:
    """Two prompts that differ beyond CLIP's reach are two conditions, and nothing is said to be left out."""
    first, second = "a" * 100 + " red", "a" * 100 + " zebra"
    assert said(models[family], request(first)) == said(models[family], request(second)) == []
    texts = [models[family].condition(request(prompt)).positive["text"] for prompt in (first, second)]
    assert not torch.equal(*texts)


def test_what_is_said_to_be_left_out_is(models: dict[str, Model]) -> None:
    model = models["sd15-ddim"]
    with pytest.warns(TruncationWarning, match="left out: 'and a HAT'"):
        whole = model.condition(request("a" * 75 + " and a HAT")).positive["text"]
    assert torch.equal(whole, model.condition(request("a" * 75)).positive["text"])


def test_a_system_s_prompt_takes_its_place_from_prompts_and_not_from_negative_ones(models: dict[str, Model]) -> None:
    long = "b" * 200
    (text,) = said(models["lumina2"], request(long, long, guidance=2.0))
    assert text.startswith("the prompt")
    (text,) = said(models["lumina2"], request("a", "b" * 260, guidance=2.0))
    assert text.endswith(f"left out: '{'b' * 5}'")


def test_negative_prompts_are_told_where_they_count(models: dict[str, Model]) -> None:
    long = "b" * 80
    assert said(models["sd15-ddim"], request("a", long)) == []
    (text,) = said(models["sd15-ddim"], request("a", long, guidance=2.0))
    assert text.startswith("the negative prompt is longer than the 77 tokens")


def test_one_warning_for_a_call(models: dict[str, Model]) -> None:
    many = Request(["a" * 80, "b" * 90, "c", "a" * 80], None, 1.0, (64, 64))
    (text,) = said(models["sd15-ddim"], many)
    assert text.endswith("left out: 'aaaaa' (and the end of 1 more)")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["cat " * 250_000, "a" * 1_000_000, " " * 60_000 + "cat " * 100, "猫" * 60_000])
def test_a_megabyte_of_prompt_takes_seconds(models: dict[str, Model], text: str) -> None:
    (told,) = said(models["sdxl"], request(text))
    assert len(told) < 300
    asked = lengths.shortened(models["sdxl"].pipe, request(text))
    assert len(asked.prompts[0]) <= 61_000
    readers = lengths.readers_of(models["sdxl"].pipe)
    assert all(
        reader.tokenizer(asked.prompts[0], verbose=False).input_ids[:76] == _ids(reader.tokenizer, text[:120_000])[:76]
        for reader in readers
    )


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, verbose=False).input_ids
    return ids


def test_what_the_encoders_say_themselves_is_not_heard(
    models: dict[str, Model], caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger(type(models["sd3"].pipe).__module__)
    before = logger.level
    logger.addHandler(caplog.handler)
    try:
        said(models["sd3"], request("a" * 100))
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.records == []
    assert logger.level == before


def test_the_user_of_an_editor_is_told(models: dict[str, Model]) -> None:
    editor = Editor(models["sd15-ddim"].pipe)
    config = InversionConfig(num_steps=1, renoising=Renoising(0))
    latents = torch.zeros(1, 4, 8, 8)
    with pytest.warns(TruncationWarning, match="the prompt is longer") as caught:
        editor.invert(None, "a" * 100, config=config, latents=latents)
    assert sum(isinstance(one.message, TruncationWarning) for one in caught) == 1
