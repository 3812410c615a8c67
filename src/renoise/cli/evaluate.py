"""`renoise evaluate`: measure a named run, and write its folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from renoise.cli import report
from renoise.cli.destinations import slug
from renoise.cli.failures import UsageError
from renoise.cli.options import DEFAULT_MODEL, ModelChoice, Reporting
from renoise.cli.work import working

if TYPE_CHECKING:
    from renoise.evaluation.summary import Summary


def evaluate(
    run: str,
    *,
    data: str,
    limit: int | None,
    out: Path | None,
    batch: int,
    seed: int,
    model: ModelChoice,
    reporting: Reporting,
) -> str:
    """Measure what is missing in the folder, write its tables, and give the summary."""
    _require_extra()
    from renoise.evaluation import data as data_sets

    folder = Path("evaluation") / f"{run}-{slug(model.name or DEFAULT_MODEL)}" if out is None else out
    # Read before the model is, so that a wrong name costs no loading.
    data_sets.load(data, limit=limit)
    with working(model, reporting) as work:
        from renoise.evaluation import outputs, runner

        task = runner.Task(run, work.editor, data, folder, limit, seed, batch)
        with work.stage("measuring") as stage:
            measurements = runner.measure(
                task, lambda p: stage.advance(p.done, p.total, f"{p.label} ({p.done}/{p.total})")
            )
        with work.stage("writing"):
            summary = outputs.write(folder, run, measurements)
    if reporting.json:
        return report.as_json(
            {
                "command": "evaluate",
                "run": run,
                "folder": str(folder),
                "summary": [asdict(line) for line in summary.lines],
            }
        )
    return "" if reporting.quiet else _text(folder, summary)


def _text(folder: Path, summary: Summary) -> str:
    from renoise.evaluation.summary import as_markdown

    bound = (
        "" if summary.psnr_bound_mean is None else f"; the autoencoder's round trip: {summary.psnr_bound_mean:.2f} dB"
    )
    return f"{summary.pictures} pictures{bound}\n\n{as_markdown(summary)}\nwrote {folder}"


def _require_extra() -> None:
    try:
        import matplotlib as _matplotlib  # noqa: F401 - asked for before a model is loaded for nothing
        import torchmetrics as _torchmetrics  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"renoise evaluate needs packages that are not installed ({error.name}); "
            "run: pip install 'renoise[evaluation]'"
        ) from error
