"""What the reports of all runs are made of: one HTML file that needs neither the folder around it nor a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from renoise import images
from renoise.errors import ImageError
from renoise.evaluation.keeping import Finder, Kind
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.tables import cell

# The longer side of an embedded image: enough to judge it by, and a report that can still be sent around.
_SIDE = 192

# A column of numbers: the lines of its heading, and the name and the format of its values.
Column = tuple[Sequence[str], str, str]


def page(title: str, facts: Mapping[str, str], sections: Iterable[str]) -> str:
    """A report as HTML.

    Args:
        title: as text.
        facts: what was measured, by name, as text.
        sections: from `section`.
    """
    template = Template(files("renoise.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    listed = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())
    return template.substitute(title=escape(title), facts=listed, sections="\n".join(sections))


def section(heading: str, *parts: str) -> str:
    """A part of a report with its heading."""
    return "\n".join(("<section>", f"<h2>{escape(heading)}</h2>", *parts, "</section>"))


def note(text: str) -> str:
    """A remark."""
    return f'<p class="quiet">{escape(text)}</p>'


def scroll(label: str, table: str) -> str:
    """A table that may be larger than the page."""
    return f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">\n{table}\n</div>'


def numbers(columns: Sequence[Column], lines: Iterable[Any]) -> str:
    """A table of a summary's lines, a method a row."""
    headings = "".join(f'<th scope="col">{"<br>".join(heading)}</th>' for heading, *_ in columns)
    rows = "\n".join(_row_of_numbers(columns, line) for line in lines)
    return (
        f'<table class="numbers">\n<thead><tr><th scope="col">method</th>{headings}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>"
    )


def _row_of_numbers(columns: Sequence[Column], line: Any) -> str:
    cells = "".join(f"<td>{cell(getattr(line, name), form)}</td>" for _, name, form in columns)
    return f'<tr><th scope="row">{escape(line.method)}</th>{cells}</tr>'


def pictures(headings: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table of images: headings as text, and rows of a first cell and the others as HTML."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'
        for first, others in rows
    )
    return f'<table class="pictures">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def facts(measurements: Sequence[Measurement], more: Mapping[str, str]) -> dict[str, str]:
    """What was measured, by name: model, data, seed and versions, with what a run has to say besides."""
    return {
        "model": _all(f"{m.model} ({m.dtype} on {m.device})" for m in measurements),
        "data": _all(m.data for m in measurements),
        **more,
        "seed": _all(str(m.seed) for m in measurements),
        "versions": _all(f"{name} {version}" for m in measurements for name, version in m.versions.items()),
    }


def _all(values: Iterable[str]) -> str:
    """Each of these once: a folder that was filled in two goes may hold two versions."""
    return ", ".join(dict.fromkeys(values))


def with_unit(value: float | None, form: str, unit: str) -> str:
    """A number with its unit, or that it is not available."""
    return cell(value, form) + ("" if value is None else unit)


def errors(own: Sequence[Measurement], what: str) -> str:
    """Why some of a method's measurements have no image, each reason once with the images' names."""
    reasons: dict[str, list[str]] = {}
    for m in own:
        if m.error is not None:
            reasons.setdefault(m.error, []).append(m.picture if m.target is None else f"{m.picture} ({m.target})")
    return "".join(
        f'<p><span class="bad">{len(names)} of {len(own)} without {what}</span>: {escape(error)}<br>'
        f'<span class="quiet">{escape(", ".join(names))}</span></p>\n'
        for error, names in reasons.items()
    )


def pictured(measurements: Iterable[Measurement]) -> list[Measurement]:
    """One measurement for each image and target, in their order; where there is one, of an image that was read."""
    found: dict[tuple[str, str | None], Measurement] = {}
    for m in measurements:
        before = found.setdefault((m.picture, m.target), m)
        if not before.picture_hash and m.picture_hash:
            found[m.picture, m.target] = m
    return list(found.values())


class Album:
    """Images of a run as HTML, each of them read once."""

    def __init__(self, folder: Path) -> None:
        self._files = Finder(folder)
        self._source = cache(_thumbnail)

    def show(self, m: Measurement, alt: str, kind: Kind = "drawn") -> str:
        """An image of a measurement, or that there is none."""
        # One of an earlier measurement may still lie there; a method that failed has none.
        path = None if kind == "drawn" and m.error is not None else self._files.find(m, kind)
        source = None if path is None else self._source(path)
        if source is None:
            return '<div class="none">no image</div>'
        return f'<img src="{source}" alt="{escape(alt)}" loading="lazy">'

    def picture(self, m: Measurement) -> str:
        """The image as it was before."""
        return self.show(m, f"{m.picture}, the image", "picture")


def data_uri(kind: str, data: bytes) -> str:
    """A file as the address of an image."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _thumbnail(path: Path) -> str | None:
    """A small image as a data URI; None where it is missing or damaged."""
    try:
        picture = images.load(path)
    except ImageError:
        return None
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return data_uri("image/jpeg", buffer.getvalue())
