"""Prompts in the language of other programs are known, and ordinary brackets are not taken for it."""

from __future__ import annotations

import time
import warnings

import pytest

from parity import start
from renoise import Editor, InversionConfig, RenoiseWarning, Renoising
from renoise.prompt_syntax import remark
from tiny_pipelines import BUILDERS


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a (red:1.4) cat", "(red:1.4)"),
        ("a (red :1.4) cat", "(red :1.4)"),
        ("(very long words: 0.8)", "(very long words: 0.8)"),
        ("(blue:1), sky", "(blue:1)"),
        ("(eyes:-1.2)", "(eyes:-1.2)"),
        ("((word:1.2), other)", "(word:1.2)"),
        ("(2girls:1.2)", "(2girls:1.2)"),
        ("(猫:1.3)", "(猫:1.3)"),
        ("((masterpiece)), a cat", "((masterpiece))"),
        ("a [blurry] cat", "[blurry]"),
        ("a [cat:dog:0.5]", "[cat:dog:0.5]"),
        ("[cat|dog] in a field", "[cat|dog]"),
        ("a cat <lora:style:0.8>", "<lora:style:0.8>"),
        ("a cat <LoRA:some style>", "<LoRA:some style>"),
        ("a cat <lyco:x:1>", "<lyco:x:1>"),
        ("<hypernet:x:1> a cat", "<hypernet:x:1>"),
        ("a cat BREAK a dog", "BREAK"),
        ("a cat, BREAK, a dog", "BREAK"),
    ],
)
def test_it_is_known(prompt: str, found: str) -> None:
    told = remark(["a cat", prompt])
    assert told is not None
    assert repr(found) in "".join(map(str, told[0]))


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "a cat (siamese) on a chair (red)",
        "a cat, 3 years old (approx.)",
        "a screen (16:9)",
        "a screen (ratio 16:9)",
        "a clock (at 10:30)",
        "chapter (note: 3)",
        "verse (page:11)",
        "an equation (1:1.5)",
        "(a cat), (a dog)",
        "(( 1 ))",
        "see [1] and [...] and []",
        "a \\(word:1.4\\) cat",
        "a < b > c",
        "a smile :) :( (:",
        "a (b:c) d",
        "A COFFEE BREAK AT WORK",
        'a sign that says "BREAK"',
        "a break, breakfast, outBREAK",
        "f(x) = (y: z)",
        "a book: (1984)",
        "(unclosed:1.4",
        "<loral:x>",
    ],
)
def test_ordinary_words_are_not_taken_for_it(prompt: str) -> None:
    assert remark([prompt]) is None


def test_what_to_do_is_what_was_met() -> None:
    weights, adapters = remark(["a (red:1.4) cat"]), remark(["a cat <lora:x:0.7>"])
    assert weights is not None
    assert adapters is not None
    assert "prompt_embeds" in "".join(map(str, weights[1]))
    assert 'lora="name:0.7"' not in "".join(map(str, weights[1]))
    assert "".join(map(str, adapters[1])) == 'for adapters lora="name:0.7"'
    unweighted = remark(["a (red:1.4) cat <lora:x:0.7>"], embeds=False)
    assert unweighted is not None
    assert "".join(map(str, unweighted[1])) == (
        'this model takes no weights: write plain words, and for adapters lora="name:0.7"'
    )
    many = remark([" ".join(f"(word{chr(97 + i)}:1.1)" for i in range(9))])
    assert many is not None
    assert "and 6 more" in "".join(map(str, many[0]))


@pytest.mark.parametrize("text", ["(", "((", "[", "<lora:", "(a:", "( (", "(a:1.", "BREAK "])
def test_long_prompts_take_no_time(text: str) -> None:
    started = time.perf_counter()
    remark(["a" + text * 30_000])
    assert time.perf_counter() - started < 2.0


def test_a_prompt_is_remarked_on_once() -> None:
    editor = Editor(BUILDERS["sd15-ddim"]())
    config = InversionConfig(num_steps=1, renoising=Renoising(0))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RenoiseWarning)
        inversion = editor.invert(latents=start(editor, 2), prompt="a (red:1.4) cat", config=config)
        assert len(said) == 1
        editor.reconstruct(inversion)
        editor.edit(inversion, "a cat")
        assert len(said) == 1
        editor.edit(inversion, "a (blue:1.4) cat")
        assert len(said) == 2
    assert {one.filename for one in said} == {__file__}
