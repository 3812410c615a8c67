"""Imports point downwards: the map in docs/architecture.md lists every module, and each imports only what is above it.

The map is the fenced block whose first line begins with "layer 1:". A line that begins with "layer" opens a layer, the
lowest first; every other line begins with the path of a module below src/renoise.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeGuard

import pytest

import renoise

SOURCES = Path(renoise.__file__).parent
ARCHITECTURE = Path(__file__).parents[1] / "docs" / "architecture.md"
TREES = {path.relative_to(SOURCES).as_posix(): ast.parse(path.read_text()) for path in SOURCES.rglob("*.py")}

pytestmark = pytest.mark.skipif(not ARCHITECTURE.exists(), reason="the sources' documents are not beside the tests")


def modules_on_the_map(text: str) -> list[str]:
    """Return the modules of the map from the lowest to the highest."""
    (block,) = re.findall(r"^```\w*\n(layer 1:.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.split()[0] for line in block.splitlines() if line.strip() and not line.startswith("layer ")]


def module_of(name: str) -> str | None:
    """Return the path of the module that a dotted name stands for; None if it is none of this package."""
    package, *parts = name.split(".")
    inside = "/".join(parts)
    paths = (f"{inside}.py", f"{inside}/__init__.py".lstrip("/")) if package == "renoise" else ()
    return next((path for path in paths if path in TREES), None)


def imports_in(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run, in functions too, without those for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        else:
            yield from imports_in(ast.Module(node.orelse, []) if is_for_types(node) else node)


def is_for_types(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def modules_of(statement: ast.Import | ast.ImportFrom) -> Iterator[str | None]:
    """Yield the modules of this package that an import names."""
    if isinstance(statement, ast.Import):
        yield from (module_of(name.name) for name in statement.names)
        return
    assert statement.level == 0, "imports are absolute"
    package = module_of(statement.module or "")
    for name in statement.names:
        submodule = module_of(f"{statement.module}.{name.name}")
        yield submodule or (package and passed_on(package, name.name)) or package


def passed_on(package: str, name: str) -> str | None:
    """Return the module of a name that a package imports when it is first used: it says so to type checkers."""
    blocks = [node for node in TREES[package].body if is_for_types(node)]
    said = [inner for block in blocks for inner in block.body if isinstance(inner, ast.ImportFrom)]
    return next((module_of(one.module or "") for one in said if name in {alias.name for alias in one.names}), None)


def imports_of(tree: ast.AST) -> set[str]:
    """Return the modules of this package that some code imports."""
    return {module for statement in imports_in(tree) for module in modules_of(statement) if module is not None}


IMPORTS = {module: imports_of(tree) - {module} for module, tree in sorted(TREES.items())}


def test_the_map_lists_every_module_once() -> None:
    listed = modules_on_the_map(ARCHITECTURE.read_text())
    assert sorted(listed) == sorted(TREES)


@pytest.mark.parametrize("module", IMPORTS)
def test_a_module_imports_only_what_is_above_it_on_the_map(module: str) -> None:
    listed = modules_on_the_map(ARCHITECTURE.read_text())
    below = set(listed[: listed.index(module)]) if module in listed else set()
    assert sorted(IMPORTS[module] - below) == []


def test_no_modules_import_each_other() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from renoise.steps import Step", {"steps.py"}),
        ("import renoise.steps", {"steps.py"}),
        ("from renoise import images", {"images.py"}),
        ("from renoise import Editor", {"editor.py"}),
        ("from renoise import __version__", {"__init__.py"}),
        ("from renoise.schedulers import steps_for", {"schedulers/schedule.py"}),
        ("def late():\n    if now:\n        from renoise.steps import Step", {"steps.py"}),
        ("if TYPE_CHECKING:\n    from renoise.steps import Step", set()),
        ("if TYPE_CHECKING:\n    import torch\nelse:\n    from renoise.steps import Step", {"steps.py"}),
        ("import torch\nfrom numpy import array\nimport renoise_mini", set()),
    ],
)
def test_imports_are_found(code: str, found: set[str]) -> None:
    assert imports_of(ast.parse(code)) == found
