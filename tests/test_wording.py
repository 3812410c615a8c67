"""Prose in the code and the documents is plain: verbs first, and the field's words."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import renoise

ROOT = Path(__file__).parents[1]
SOURCES = Path(renoise.__file__).parent
MODULES = sorted(SOURCES.rglob("*.py"))
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "packages/*/*.md", "training/*.md")
    for path in sorted(ROOT.glob(pattern))
    if not path.is_symlink()
]

# A docstring of a function says what it does. These words, plurals and participles open one that says what it is.
NO_VERBS = re.compile(
    "A|All|An|And|Another|Any|As|At|Both|By|Each|Either|Every|Everything|For|From|How|If|In|Into|It|Its|Likewise|Nothing|No|None|Not|"
    "Of|On|One|Only|Other|Same|So|Some|Such|That|The|Their|Them|Then|These|They|This|Those|To|Two|What|When|Where|Whether|"
    "Which|Who|Whose|Why|With|Without|"
    "Classifier-free|Four|Grey|Mean|Multi-scale|Structural|Three|"
    "Embedding|Guidance|Image|Latent|Model|Noise|Number|Prompt|Scheduler|Step|Tensor|Timestep|Value"
)
# Verbs that look like plurals or participles.
VERBS = frozenset({"Bring", "Embed", "Feed", "Focus", "Need", "Proceed"})

PLAIN_WORDS = {
    re.compile(r"\bpictures?\b", re.IGNORECASE): "say image",
    re.compile(r"\bof (its|one's|their) own\b", re.IGNORECASE): "say own or separate, or drop it",
}


def opens_with_a_verb(docstring: str) -> bool:
    first = re.match(r"[A-Z][a-z]+(-[a-z]+)?\b(?!')", docstring.strip())
    if first is None:
        return False
    word = first.group()
    return word in VERBS or not (NO_VERBS.fullmatch(word) or re.search(r"([^s]s|ing|ed)$", word))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods of a module but for properties and those that the language names."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            is_property = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
            if not is_property and not node.name.startswith("__"):
                yield node


def prose_of(source: str) -> Iterator[str]:
    """Yield the comments, docstrings and messages of a module; keys, names and paths are strings without spaces."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\s", node.value.strip()):
            yield node.value


def without_code(text: str) -> str:
    """Return a text without its code, tags and links' addresses."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^( {4}|>>> |\.\.\. ).*$", "", text, flags=re.MULTILINE)
    return re.sub(r"<[^>]*>|`[^`]*`|\]\([^)]*\)|\w+://\S+", "", text)


def faults(texts: Iterator[str]) -> list[str]:
    found = []
    for text in map(without_code, texts):
        for word, advice in PLAIN_WORDS.items():
            hits = word.finditer(text)
            found += [f"{advice}: ...{text[max(hit.start() - 40, 0) : hit.end() + 20]!r}" for hit in hits]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCES).as_posix())
def test_docstrings_of_functions_open_with_a_verb(path: Path) -> None:
    named = ((node.name, ast.get_docstring(node)) for node in functions(ast.parse(path.read_text())))
    assert [f"{name}: {doc.splitlines()[0]}" for name, doc in named if doc and not opens_with_a_verb(doc)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCES).as_posix())
def test_the_prose_of_a_module_is_plain(path: Path) -> None:
    assert faults(prose_of(path.read_text())) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_prose_of_a_page_is_plain(path: Path) -> None:
    assert faults(iter([path.read_text()])) == []


@pytest.mark.parametrize(
    ("docstring", "verb"),
    [
        ("Return the steps.", True),
        ("Pass them on.", True),
        ("See `Backbone.decode`.", True),
        ("Returns the steps.", False),
        ("Images of latents.", False),
        ("The steps.", False),
        ("(height, width) in pixels.", False),
        ("That of an editor's model.", False),
        ("Whether it is.", False),
        ("Where it is.", False),
    ],
)
def test_verbs_are_told_from_nouns(docstring: str, verb: bool) -> None:
    assert opens_with_a_verb(docstring) is verb


def test_only_prose_is_read() -> None:
    source = '# a picture\nkeys = {"picture": "pictures/0.png"}\n"""See `pictures/` and pictures."""\n'
    assert len(faults(prose_of(source))) == 2
