"""What all methods of others have in common: their passes, batches, prompts and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from renoise import ConfigError, Editor, InversionConfig, NumericalError, Renoising
from renoise.evaluation import runner, runs
from renoise.evaluation.methods import Drawn, Method
from renoise.evaluation.outside import DDIMInverse, EditFriendly, NegativePrompt, NullPrompt
from renoise.evaluation.registry import method_from

MakeEditor = Callable[..., Editor]
PROMPTS = ["a lion", "a cat"]
TARGETS = ["a tiger", "a dog"]
PLAIN = InversionConfig(num_steps=4, renoising=Renoising(0))
EVERY: list[Method] = [
    DDIMInverse(4),
    EditFriendly(4),
    NegativePrompt(PLAIN),
    NullPrompt(PLAIN),
]
TURBO = "EulerAncestralDiscreteScheduler"


def kind_of(method: Method) -> str:
    return method.kind


@contextmanager
def rows_seen(editor: Editor) -> Iterator[list[int]]:
    """How many latents each call of the network brings."""
    rows: list[int] = []
    hook = editor.pipe.unet.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[0]))
    try:
        yield rows
    finally:
        hook.remove()


def drawn_rows(
    editor: Editor, draw: Callable[[Sequence[str] | None, float | None], Drawn], *how: Any
) -> tuple[float, int]:
    """Network passes an image, as measured and as told."""
    with rows_seen(editor) as rows:
        drawn = draw(*how)
    assert drawn.pixels.shape == (2, 3, *editor.size)
    assert drawn.pixels.min() >= 0.0
    assert drawn.pixels.max() <= 1.0
    return sum(rows) / 2, drawn.passes


@pytest.mark.parametrize(
    ("method", "scheduler", "inversion", "reconstruction", "edit"),
    [
        (DDIMInverse(4), None, 4, 4, 4),
        (EditFriendly(4), None, 4, 4, 4),
        (EditFriendly(4, scheduler=None), TURBO, 3, 4, 4),
        (EditFriendly(4, guidance_scale=3.5), None, 8, 8, 4),
        (EditFriendly(4, guidance_scale=3.5, edit_guidance_scale=15), TURBO, 8, 8, 8),
        (EditFriendly(8, strength=0.5), None, 4, 4, 4),
        (NegativePrompt(PLAIN), None, 4, 8, 8),
        (NegativePrompt(replace(PLAIN, renoising=Renoising(2))), None, 12, 8, 8),
        (NegativePrompt(PLAIN, guidance_scale=1), TURBO, 4, 4, 4),
        (NullPrompt(PLAIN), None, 4, 4, 8),
        (NullPrompt(replace(PLAIN, renoising=Renoising(2))), TURBO, 12, 4, 8),
    ],
    ids=str,
)
def test_passes_are_counted_as_they_are_made(
    make_editor: MakeEditor,
    z_0: Tensor,
    method: Method,
    scheduler: str | None,
    inversion: int,
    reconstruction: int,
    edit: int,
) -> None:
    editor = make_editor(scheduler=scheduler)
    with rows_seen(editor) as rows:
        noised = method.invert(editor, z_0, PROMPTS)
    assert noised.latents.shape == z_0.shape
    assert sum(rows) / 2 == noised.passes == inversion
    assert drawn_rows(editor, noised.draw, None, None) == (reconstruction, reconstruction)
    assert drawn_rows(editor, noised.draw, TARGETS, None) == (edit, edit)
    assert drawn_rows(editor, noised.draw, TARGETS, 3.0) == (8, 8)
    assert drawn_rows(editor, noised.draw, TARGETS, 1.0) == (4, 4)


@pytest.mark.parametrize("method", EVERY, ids=kind_of)
def test_a_image_does_not_depend_on_its_batch(make_editor: MakeEditor, z_0: Tensor, method: Method) -> None:
    editor = make_editor()
    both = method.invert(editor, z_0, PROMPTS)
    for i in range(2):
        alone = method.invert(editor, z_0[i : i + 1], PROMPTS[i : i + 1])
        torch.testing.assert_close(alone.latents[0], both.latents[i], atol=1e-4, rtol=1e-4)
        for targets, scale in ((None, None), (TARGETS, None), (TARGETS, 2.0)):
            a = alone.draw(None if targets is None else targets[i : i + 1], scale).pixels[0]
            torch.testing.assert_close(a, both.draw(targets, scale).pixels[i], atol=1e-3, rtol=0)


@pytest.mark.parametrize("method", EVERY, ids=kind_of)
def test_edits_follow_the_prompt_and_leave_the_pipeline_alone(
    make_editor: MakeEditor, z_0: Tensor, method: Method
) -> None:
    editor = make_editor()
    scheduler, config = editor.pipe.scheduler, dict(editor.pipe.scheduler.config)
    noised = method.invert(editor, z_0, PROMPTS)
    assert not torch.allclose(noised.draw(TARGETS, None).pixels, noised.draw(PROMPTS[::-1], None).pixels, atol=1e-4)
    assert not noised.latents.requires_grad
    assert editor.pipe.scheduler is scheduler
    assert dict(scheduler.config) == config


@pytest.mark.parametrize("method", EVERY, ids=kind_of)
def test_what_no_method_can_invert(make_editor: MakeEditor, z_0: Tensor, method: Method) -> None:
    editor = make_editor()
    with pytest.raises(ConfigError, match="latents must be a tensor"):
        method.invert(editor, z_0[:, :3], PROMPTS)
    with pytest.raises(NumericalError):
        method.invert(editor, z_0 * float("nan"), PROMPTS)
    noised = method.invert(editor, z_0, PROMPTS)
    with pytest.raises(ConfigError, match="2 images but 3"):
        noised.draw([*TARGETS, "a fox"], None)
    with pytest.raises(ConfigError, match="guidance_scale must be"):
        noised.draw(None, float("nan"))


@pytest.mark.parametrize("method", [m for m in EVERY if not isinstance(m, NullPrompt)], ids=kind_of)
def test_a_prompt_is_needed_for_every_image(make_editor: MakeEditor, z_0: Tensor, method: Method) -> None:
    with pytest.raises(ConfigError, match="2 images but 1"):
        method.invert(make_editor(), z_0, PROMPTS[:1])


@pytest.mark.parametrize("kind", [DDIMInverse, EditFriendly])
@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True, "4"])
def test_impossible_numbers_of_steps(kind: type[DDIMInverse] | type[EditFriendly], num_steps: Any) -> None:
    with pytest.raises(ConfigError, match="num_steps must be"):
        kind(num_steps)


@pytest.fixture
def run_of_others(monkeypatch: pytest.MonkeyPatch) -> str:
    """A run with the four methods, and one that fails."""
    failing = runs.Row("failing", EditFriendly(4, scheduler="EulerDiscreteScheduler"))
    rows = (*(runs.Row(method.kind, method) for method in EVERY), failing)
    known = {"others": runs.Run("methods of others", lambda preset: rows)}
    monkeypatch.setattr(runs, "RUNS", known)
    return "others"


def test_they_are_measured_like_any_other(
    make_editor: MakeEditor, tmp_path: Path, picture: Image.Image, run_of_others: str
) -> None:
    pytest.importorskip("torchmetrics")
    source = tmp_path / "pictures"
    source.mkdir()
    lines = [{"file": "a.png", "caption": "a lion"}, {"file": "b.png", "caption": "a cat"}]
    picture.save(source / "a.png")
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(source / "b.png")
    (source / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    editor = make_editor()
    task = runner.Task(run_of_others, editor, str(source), tmp_path / "results", batch=2)
    measured = runner.measure(task)
    good, failed = measured[:-2], measured[-2:]
    assert [m.label for m in good] == [m.kind for m in EVERY for _ in range(2)]
    assert {m.label: (m.passes_inversion, m.passes_denoising) for m in good} == {
        "ddim-inverse": (4, 4),
        "edit-friendly": (4, 4),
        "negative-prompt": (4, 8),
        "null-prompt": (4, 4),
    }
    for m in good:
        assert m.error is None
        assert m.psnr is not None
        assert method_from(m.settings) in EVERY
    for m in failed:
        assert m.psnr is None
        assert m.error is not None
        assert "adds noise" in m.error
    exact = [m for m in good if m.label == "edit-friendly"]
    assert all(m.psnr_roundtrip is not None and m.psnr_roundtrip > 60.0 for m in exact)
    again = runner.recompute(good[3], editor)
    assert again.psnr == pytest.approx(good[3].psnr, abs=1e-2)
