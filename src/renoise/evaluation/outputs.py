"""The folder of a run: tables, plots and a report made from its measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from renoise.errors import StorageError, reason
from renoise.evaluation import edit_report, edit_summary, plots, report
from renoise.evaluation.edit_summary import EditSummary
from renoise.evaluation.keeping import make_folder
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.summary import Summary, as_csv, as_markdown, summarise
from renoise.files import write_atomically


def write(folder: str | Path, run: str, measurements: Sequence[Measurement]) -> Summary | EditSummary:
    """Write a run's tables, plots and report beside its `results.jsonl`.

    That is `summary.csv`, `summary.md`, `plots/` with each plot as PNG and SVG (none of edits), and `report.html`.

    Args:
        folder: the run's folder.
        run: its name.
        measurements: of its rows, at least one.

    Raises:
        StorageError: if they cannot be written.
    """
    folder = Path(folder)
    if any(m.target is not None for m in measurements):
        return _write_edits(folder, run, measurements)
    summary = summarise(measurements)
    make_folder(folder / "plots")
    # The tables first: they are there even if drawing is cut short.
    _write(folder / "summary.csv", as_csv(summary).encode())
    _write(folder / "summary.md", as_markdown(summary).encode())
    drawn = plots.draw(run, measurements)
    for name, plot in drawn.items():
        _write(folder / "plots" / f"{name}.png", plot.render("png"))
        _write(folder / "plots" / f"{name}.svg", plot.render("svg"))
    _write(folder / "report.html", report.page(folder, run, measurements, summary, drawn).encode())
    return summary


def _write_edits(folder: Path, run: str, measurements: Sequence[Measurement]) -> EditSummary:
    summary = edit_summary.summarise(measurements)
    make_folder(folder)
    _write(folder / "summary.csv", edit_summary.as_csv(summary).encode())
    _write(folder / "summary.md", edit_summary.as_markdown(summary).encode())
    _write(folder / "report.html", edit_report.page(folder, run, measurements, summary).encode())
    return summary


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {reason(error)}; free space or name another folder") from error
