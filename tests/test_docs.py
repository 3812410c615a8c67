"""The examples in docstrings are true, and the rooms in docs/architecture.md are those of the code."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import renoise

MODULES = [m.name for m in walk_packages(renoise.__path__, "renoise.") if not m.name.endswith("__main__")]
ARCHITECTURE = Path(__file__).parents[1] / "docs" / "architecture.md"


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0


def test_there_are_examples_to_test() -> None:
    examples = [name for name in MODULES if ">>> " in (import_module(name).__doc__ or "") or _has_examples(name)]
    assert {"renoise.steps", "renoise.solvers", "renoise.config", "renoise.schedulers.schedule"} <= set(examples)


def _has_examples(name: str) -> bool:
    return any(test.examples for test in doctest.DocTestFinder().find(import_module(name)))


@pytest.mark.skipif(not ARCHITECTURE.exists(), reason="the sources' documents are not beside the tests")
def test_every_top_level_room_is_on_the_map() -> None:
    text = ARCHITECTURE.read_text()
    for name in MODULES:
        if name.count(".") == 1:
            module = name.removeprefix("renoise.")
            assert f"{module}.py" in text or f"{module}/" in text, name


@pytest.mark.skipif(not ARCHITECTURE.exists(), reason="the sources' documents are not beside the tests")
def test_the_family_that_is_shown_is_the_one_that_is_tested() -> None:
    source = (Path(__file__).parent / "extending" / "test_family.py").read_text()
    shown = (ARCHITECTURE.parent / "extending.md").read_text()
    family = source[source.index("class PainterBackbone") : source.index("\n\ndef test_a_new_family")]
    assert family.rstrip() in shown
    assert len(source.splitlines()) < 60
    assert f"{len(source.splitlines())} lines" in shown
