"""Lines of numbers as tables: comma-separated values for programs, Markdown for people."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np


def as_csv(kind: type, lines: Sequence[Any]) -> str:
    """Dataclasses as comma-separated values with a header; what is not available is left empty."""
    buffer = io.StringIO()
    names = [f.name for f in fields(kind)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        writer.writerow(["" if getattr(line, name) is None else getattr(line, name) for name in names])
    return buffer.getvalue()


def as_markdown(columns: Sequence[tuple[str, str]], lines: Sequence[Any]) -> str:
    """Dataclasses as a Markdown table.

    Args:
        columns: names of their fields, each with the format of its values.
        lines: the rows.
    """
    rows = [[name for name, _ in columns]]
    rows += [[cell(getattr(line, name), form) for name, form in columns] for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [" | ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)) for row in rows]
    texts.insert(1, " | ".join("-" * w for w in widths))
    return "".join(f"| {text} |\n" for text in texts)


def errors(lines: Sequence[Any]) -> str:
    """Notes under a table: why some of each method's measurements have no image."""
    return "".join(f"\n{line.method}: {line.error}\n" for line in lines if line.error)


def reasons(own: Sequence[str | None]) -> str | None:
    """Why some of a method's measurements have no image, each reason with its count; None where all have one.

    Example:
        >>> reasons(["NaN in the latent", None, None])
        'NaN in the latent (1 of 3)'
    """
    counts = Counter(error for error in own if error is not None)
    return "; ".join(f"{error} ({count} of {len(own)})" for error, count in counts.items()) or None


def cell(value: object, form: str) -> str:
    """A value as people read it."""
    return "n/a" if value is None else format(value, form)


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are available; None where none is."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
