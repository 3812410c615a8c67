"""What the model learns from: nothing that is held out, and the captions of what is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data import BACKGROUNDS, MARGIN, SIDE, lay, load_drawings, load_splits
from training.scenes import COLOURS, GRADIENT, PLAIN, Sampler, Scenes, Shares, compose

COUNT = 4000
# Every caption says what is shown, in which style, and on what.
COMPLETE = Shares(drop_style=0, drop_background=0, drop_caption=0, alias=0, category=0, colour=0)


@pytest.fixture(scope="module")
def sampler(work: Path) -> Sampler:
    return Sampler(work, COMPLETE)


@pytest.fixture(scope="module")
def scenes(sampler: Sampler) -> Scenes:
    return sampler.sample(COUNT, seed=3)


def test_no_scene_shows_what_is_held_out(work: Path, sampler: Sampler, scenes: Scenes) -> None:
    splits, names = load_splits(work), list(COLOURS)
    shown = set()
    for first, second, colours in zip(scenes.first, scenes.second, scenes.colours, strict=True):
        for row in (first, second) if second >= 0 else (first,):
            drawing = sampler.drawings[row]
            shown.add((drawing.concept, drawing.style))
            assert splits.trained(drawing.concept, drawing.style)
            for colour in colours:
                assert (drawing.concept, names[colour]) not in splits.held_out_backgrounds
    everything = {(d.concept, d.style) for d in sampler.drawings}
    assert shown == {pair for pair in everything if splits.trained(*pair)}


def test_scenes_are_drawn_alike_by_a_seed(sampler: Sampler, scenes: Scenes) -> None:
    assert sampler.sample(COUNT, seed=3).texts() == scenes.texts()
    assert sampler.sample(COUNT, seed=4).texts() != scenes.texts()


def parts(text: str) -> tuple[str, str, str]:
    phrase, style, ground = text.rsplit(", ", 2)
    return phrase, style, ground


def test_an_edit_changes_one_thing(sampler: Sampler, scenes: Scenes) -> None:
    changes = []
    for before, after in zip(scenes.texts(), sampler.edited(scenes, seed=5).texts(), strict=True):
        changes.append([one != other for one, other in zip(parts(before), parts(after), strict=True)])
    number = np.sum(changes, 1)
    assert number.max() == 1
    # By chance, what is asked for may be what was there; the three kinds are about as frequent.
    assert (np.mean(changes, 0) > 0.15).all()


def test_an_edit_asks_for_nothing_held_out(work: Path, sampler: Sampler) -> None:
    plain = replace(COMPLETE, kinds=(1.0, 0.0, 0.0, 0.0, 0.0), two=0)
    sampler = Sampler(work, plain)
    asked = set(sampler.edited(sampler.sample(COUNT, seed=6), seed=7).texts())
    assert "a cat, twemoji style, on a white background" in asked
    assert not any(text.startswith(("a cat, noto", "a rocket, twemoji", "a fox, ", "a banana, noto")) for text in asked)
    assert not any(text.startswith(("a dog, ", "a house, ")) and "on a white" in text for text in asked)


def test_the_captions_name_what_is_shown(sampler: Sampler, scenes: Scenes) -> None:
    for text, first, kind, colours in zip(scenes.texts(), scenes.first, scenes.kind, scenes.colours, strict=True):
        drawing = sampler.drawings[first]
        phrase, style, ground = parts(text)
        assert drawing.concept.replace("-", " ") in phrase
        assert style == f"{drawing.style.replace('-emoji', '')} style"
        words = [list(COLOURS)[colour] for colour in colours]
        assert all(word in ground.split() for word in words)
        assert ("gradient" in ground) == (kind == GRADIENT)


def test_plain_scenes_are_the_images_that_are_measured(work: Path, sampler: Sampler) -> None:
    drawings, rows = load_drawings(work)
    backgrounds = list(BACKGROUNDS)
    plain = sampler.plain([(d.concept, d.style) for d in rows], [backgrounds[i % 6] for i in range(len(rows))])
    assert (plain.kind == PLAIN).all()
    made = compose(torch.from_numpy(np.array(drawings)), plain)
    expected = np.stack([lay(drawing, backgrounds[i % 6]) for i, drawing in enumerate(drawings)])
    assert np.abs(255 * made.permute(0, 2, 3, 1).numpy() - expected).max() < 0.51


def test_the_pixels_of_a_scene_are_its_drawing_on_its_background(work: Path, sampler: Sampler, scenes: Scenes) -> None:
    drawings, _ = load_drawings(work)
    some = scenes[np.flatnonzero(scenes.centred & (scenes.kind != PLAIN))[:32]]
    made = compose(torch.from_numpy(np.array(drawings)), some).numpy()
    bare = compose(torch.zeros(drawings.shape, dtype=torch.uint8), some).numpy()
    frame = np.ones((SIDE, SIDE), bool)
    frame[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
    assert np.array_equal(made[..., frame], bare[..., frame])
    drawn = drawings[some.first].transpose(0, 3, 1, 2) / 255
    inside = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    expected = drawn[:, :3] * drawn[:, 3:] + (1 - drawn[:, 3:]) * bare[inside]
    assert np.abs(made[inside] - expected).max() < 1e-5
