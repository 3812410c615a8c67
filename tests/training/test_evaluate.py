"""What a model is measured on: images of the kind that is said, compared with others of the same style or concept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data import BACKGROUNDS, STYLES, load_drawings, load_splits
from training.evaluate import KINDS, OTHERS, Case, Cases, border_colour, energy


@pytest.fixture
def cases(work: Path) -> Cases:
    return Cases(load_splits(work), list(load_drawings(work)[1]), seed=1)


@pytest.mark.parametrize(("kind", "count"), list(zip(KINDS, (2, 3, 7), strict=True)))
def test_cases_are_of_their_kind(work: Path, cases: Cases, kind: str, count: int) -> None:
    chosen = cases.choose(kind, 100)
    assert len({case.concept for case in chosen}) == len(chosen) == count
    for case in chosen:
        assert load_splits(work).split(case.concept, case.style, case.background) == kind
        assert case.style in STYLES


def test_a_case_is_compared_with_what_differs_in_one_thing(cases: Cases) -> None:
    case = Case("cat", "noto", "blue")
    others, styles = cases.others(case), cases.other_styles(case)
    assert 0 < len(others) <= OTHERS
    assert case.concept not in {other.concept for other in others}
    assert {(other.style, other.background) for other in others} == {("noto", "blue")}
    assert set(styles) == {Case("cat", "twemoji", "blue"), Case("cat", "fluent-emoji", "blue")}


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_border_has_the_nearest_colour(name: str) -> None:
    picture = np.full((128, 128, 3), 90, np.uint8)
    picture[:4] = picture[-4:] = np.array(BACKGROUNDS[name]) - 8
    assert border_colour(picture) == name


def test_half_the_contrast_is_a_quarter_of_the_energy() -> None:
    noise = np.random.default_rng(0).integers(0, 128, (2, 16, 16, 3)).astype(np.uint8)
    assert energy(noise) - energy(2 * noise) == pytest.approx(-10 * np.log10(4), abs=1e-3)


def test_cases_of_some_concepts_and_styles(cases: Cases) -> None:
    chosen = cases.choose("seen", 100, {"cat", "dog"}, ["noto"])
    assert {case.style for case in chosen} <= {"noto"}
    assert {case.concept for case in chosen} <= {"cat", "dog"}
    assert chosen
