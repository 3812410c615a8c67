"""HunyuanDiT: what it is told of the image, rescaled guidance, its two encoders, and its files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from parity import PROMPTS, ours, relative, start, theirs
from renoise import Editor, InversionConfig, ModelError
from renoise.backbones.base import Request
from renoise.errors import TruncationWarning
from tiny_pipelines import BUILDERS


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["hunyuan-dit", "hunyuan-dit-1.1"])
def test_rescaled_guidance_is_the_pipelines(name: str, count: int) -> None:
    editor = Editor(BUILDERS[name]())
    latents, prompts = start(editor, count), PROMPTS[:count]
    expected = theirs(editor.pipe, latents, prompts, guidance_scale=5.0, guidance_rescale=0.7)
    rescaled = ours(editor, latents, prompts, None, guidance_scale=5.0, guidance_rescale=0.7)
    assert relative(rescaled, expected) < 1e-4
    assert relative(ours(editor, latents, prompts, None, guidance_scale=5.0), expected) > 1e-3


def test_both_encoders_read_in_the_lengths_of_the_pipelines_call() -> None:
    condition = Editor(BUILDERS["hunyuan-dit"]()).model.backbone.condition(Request(PROMPTS, None, 2.0, (64, 96)))
    assert condition.negative is not None
    for embeddings in (condition.positive, condition.negative):
        assert embeddings["text_encoder"].shape[:2] == embeddings["text_encoder_mask"].shape == (3, 77)
        assert embeddings["text_encoder_2"].shape[:2] == embeddings["text_encoder_2_mask"].shape == (3, 256)
        assert embeddings["sizes"].tolist() == [[1024, 1024, 64, 96, 0, 0]] * 3


def test_a_prompt_is_cut_beyond_what_t5_reads() -> None:
    """BERT reads 77 tokens and T5 256, of which a word of one letter takes two here."""
    model = Editor(BUILDERS["hunyuan-dit"]()).model
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        model.condition(Request(["a " * 126], None, 1.0, (64, 64)))
    with pytest.warns(TruncationWarning, match=r"the 256 tokens .*T5EncoderModel\) reads; left out: 'b'"):
        model.condition(Request(["a " * 127 + "b"], None, 1.0, (64, 64)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BUILDERS["hunyuan-dit"]().save_pretrained(tmp_path)
    return tmp_path


def test_the_words_of_bert_may_be_a_text_file(folder: Path) -> None:
    pipe: Any = BUILDERS["hunyuan-dit"]()
    words = sorted(pipe.tokenizer.get_vocab().items(), key=lambda word: int(word[1]))
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="is not whole"):
        Editor.from_pretrained(folder, device="cpu")
    (folder / "tokenizer" / "vocab.txt").write_text("\n".join(word for word, _ in words) + "\n")
    editor, latents = Editor.from_pretrained(folder, device="cpu"), start(Editor(pipe), 1)
    expected = theirs(pipe, latents, PROMPTS[:1], guidance_scale=5.0)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=5.0), expected) < 1e-4


@pytest.mark.parametrize(("cls", "fits"), [("MT5EncoderModel", True), ("CLIPTextModel", False)])
def test_the_second_encoder_may_be_a_multilingual_t5(folder: Path, cls: str, fits: bool) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "text_encoder_2": ["transformers", cls]}))
    if not fits:
        with pytest.raises(ModelError, match="which it cannot be: T5EncoderModel"):
            Editor.from_pretrained(folder, device="cpu")
        return
    editor = Editor.from_pretrained(folder, device="cpu")
    inversion = editor.invert(latents=start(editor, 1), prompt="a lion", config=InversionConfig(num_steps=2))
    assert torch.isfinite(inversion.latents).all()
