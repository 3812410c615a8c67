"""Reports, read as strictly as HTML can be read."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from renoise.evaluation import outputs
from renoise.evaluation.folder import Role, image_path
from renoise.evaluation.measurement import Measurement

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A report, read strictly: every element closes in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.said.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.said).split())


def written(folder: Path, run: str, measurements: Sequence[Measurement]) -> Page:
    outputs.write(folder, run, measurements)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def keep_image(folder: Path, m: Measurement, role: Role, size: tuple[int, int] = (16, 16)) -> Path:
    path = image_path(folder, m, role)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path)
    return path
