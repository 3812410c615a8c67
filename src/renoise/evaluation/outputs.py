"""The folder of a run: tables, plots and a report made from its measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from renoise.errors import StorageError, reason
from renoise.evaluation import plots, report, runs
from renoise.evaluation.folder import make_folder
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.summary import Summary, as_csv, as_markdown, summarise
from renoise.files import write_atomically


def write(folder: str | Path, name: str, measurements: Sequence[Measurement], run: runs.Run | None = None) -> Summary:
    """Write a run's tables, plots and report beside its `results.jsonl`.

    These are `summary.csv`, `summary.md`, `report.html`, and `plots/` with PNG and SVG files; of edits there are plots
    where their true results are known.

    Args:
        folder: the run's folder.
        name: the run's name.
        measurements: the measurements of its rows, at least one.
        run: what it shows and how its plots look (`Task.plan`); None is the named run, or a comparison of methods.

    Raises:
        StorageError: if they cannot be written.
    """
    folder = Path(folder)
    run = run or runs.RUNS.get(name, runs.Run(runs.ABOUT_OWN, lambda presets: ()))
    summary = summarise(measurements, details=run.details)
    # The tables come first: they are there even if drawing is cut short.
    _write(folder / "summary.csv", as_csv(summary).encode())
    _write(folder / "summary.md", as_markdown(summary).encode())
    drawn = plots.draw(run.plots, measurements)
    for plot_name, plot in drawn.items():
        _write(folder / "plots" / f"{plot_name}.png", plot.render("png"))
        _write(folder / "plots" / f"{plot_name}.svg", plot.render("svg"))
    page = report.page(folder, f"{name}: {run.about}", measurements, summary, drawn, chosen=run.plots)
    _write(folder / "report.html", page.encode())
    return summary


def _write(path: Path, data: bytes) -> None:
    make_folder(path.parent)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {reason(error)}",
            argument="folder",
            remedy="free space or name another folder",
        ) from error
