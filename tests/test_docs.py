"""The examples in docstrings are true, and docs/ shows the code as it is."""

from __future__ import annotations

import ast
import doctest
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
from PIL import Image

import renoise

MODULES = [m.name for m in walk_packages(renoise.__path__, "renoise.") if not m.name.endswith("__main__")]
ROOT = Path(__file__).parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
# Each has a made-up part of renoise, as its last class, and the test of it.
EXTENSIONS = sorted((ROOT / "tests" / "extending").glob("test_*.py"))
PAGES = sorted(path for pattern in ("*.md", "docs/*.md", "packages/*/*.md") for path in ROOT.glob(pattern))
REPOSITORY = re.compile(
    r"https://(github\.com/renoise/renoise/(blob|tree)|raw\.githubusercontent\.com/renoise/renoise)/main/"
)


def of_the_page(name: str) -> bool:
    """Tell whether a module imports Gradio, which is an extra, and takes long."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None and "import gradio" in Path(spec.origin).read_text()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.web] if of_the_page(name) else []) for name in MODULES]
)
def test_docstring_examples(name: str) -> None:
    if of_the_page(name):
        pytest.importorskip("gradio", reason="the page is not installed: pip install 'renoise[web]'")
    assert doctest.testmod(import_module(name)).failed == 0


def test_there_are_examples_to_test() -> None:
    modules = [name for name in MODULES if not of_the_page(name)]
    examples = [name for name in modules if ">>> " in (import_module(name).__doc__ or "") or _has_examples(name)]
    assert {
        "renoise.steps",
        "renoise.solvers.fixed_point",
        "renoise.solvers.renoising",
        "renoise.config",
        "renoise.schedulers.schedule",
    } <= set(examples)


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
@pytest.mark.parametrize("path", EXTENSIONS, ids=lambda path: path.name)
def test_the_extension_that_is_shown_is_the_one_that_is_tested(path: Path) -> None:
    shown = (ARCHITECTURE.parent / "extending.md").read_text()
    source = path.read_text()
    lines = source.splitlines()
    *_, extension = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    first = min([extension.lineno, *(decorator.lineno for decorator in extension.decorator_list)])
    assert "\n".join(lines[first - 1 : extension.end_lineno]) in shown
    assert len(lines) < 60
    assert f"({path.relative_to(ROOT).as_posix()}), {len(lines)} lines" in shown.replace("(../", "(")


@pytest.mark.slow
@pytest.mark.skipif(not ARCHITECTURE.exists(), reason="the sources' documents are not beside the tests")
def test_the_code_for_users_of_diffusers_runs(
    picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture.save("cat.png")
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "coming-from-diffusers.md").read_text(), re.M | re.S)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "coming-from-diffusers.md", "exec"), names)
    assert Path("dog.png").exists()
    assert names["inversion"].network_passes == 50


@pytest.mark.skipif(not ARCHITECTURE.exists(), reason="the sources' documents are not beside the tests")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", path.read_text(), re.M)
    for link in (inline or reference for inline, reference in links):
        if REPOSITORY.match(link):
            assert (ROOT / REPOSITORY.sub("", link)).exists(), link
        elif not link.startswith(("http", "#")):
            assert path.name != "README.md", f"{link}: a package index shows the page without the files beside it"
            assert (path.parent / link).exists(), link
