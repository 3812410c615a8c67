"""`renoise evaluate`: measure a named run, and write its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from renoise.cli import report
from renoise.cli.destinations import slug
from renoise.cli.failures import UsageError
from renoise.cli.options import DEFAULT_MODEL, ModelChoice, Reporting, RunName
from renoise.cli.silence import quiet_libraries
from renoise.cli.terminal import Terminal
from renoise.cli.work import working

if TYPE_CHECKING:
    from renoise.evaluation.edit_summary import EditSummary
    from renoise.evaluation.judges import Judges
    from renoise.evaluation.summary import Summary


def evaluate(
    run: str,
    *,
    data: str,
    limit: int | None,
    out: Path | None,
    batch: int,
    seed: int,
    clip: Path | None,
    dino: Path | None,
    model: ModelChoice,
    reporting: Reporting,
) -> str:
    """Measure what is missing in the folder, write its tables, and give the summary."""
    edits = run == RunName.editing
    if not edits and not (clip is None and dino is None):
        raise UsageError(f"--clip and --dino judge edits, which {run} does not draw; leave them out or run editing")
    _require_extra()
    from renoise.evaluation import data as data_sets

    folder = Path("evaluation") / f"{run}-{slug(model.name or DEFAULT_MODEL)}" if out is None else out
    # Read before the model is, so that a wrong name costs no loading.
    examples = data_sets.load(data, limit=limit)
    skipped = len(examples) - len(data_sets.editable(examples, data)) if edits else 0
    with _usable(folder):
        judges = _judges(clip, dino, model, reporting)
        with working(model, reporting) as work:
            from renoise.evaluation import outputs, runner

            task = runner.Task(run, work.editor, data, folder, limit, seed, batch)
            task = task if judges is None else replace(task, judges=judges)
            with work.stage("measuring") as stage:
                measurements = runner.measure(
                    task, lambda p: stage.tell(p.done, p.total, f"{p.label} ({p.done}/{p.total})"), examples
                )
            with work.stage("writing"):
                summary = outputs.write(folder, run, measurements)
    if reporting.json:
        from renoise import __version__

        return report.as_json(
            {
                "command": "evaluate",
                "version": __version__,
                "model": work.model,
                "data": data,
                "run": run,
                "seed": seed,
                "folder": str(folder),
                "summary": [asdict(line) for line in summary.lines],
                **_more(summary, skipped),
            }
        )
    return "" if reporting.quiet else _text(folder, summary, skipped)


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """The folder for results, made and tried out before a model is loaded for nothing."""
    from renoise.evaluation.keeping import RESULTS, usable
    from renoise.evaluation.measurement import Results

    with usable(folder):
        Results(folder / RESULTS)
        yield


def _judges(clip: Path | None, dino: Path | None, model: ModelChoice, reporting: Reporting) -> Judges | None:
    """CLIP and DINO, loaded before the model is, so that a wrong folder costs no loading either."""
    if clip is None and dino is None:
        return None
    with (
        Terminal(reporting.quiet) as terminal,
        terminal.stage("loading what judges edits"),
        quiet_libraries(terminal.note, debug=reporting.debug),
    ):
        from renoise.evaluation.judges import Judges

        return Judges.load(clip, dino, model.device)


def _more(summary: Summary | EditSummary, skipped: int) -> dict[str, object]:
    """What the document says besides: of reconstructions their bound, of edits their kinds."""
    from renoise.evaluation.edit_summary import EditSummary

    if not isinstance(summary, EditSummary):
        return {"psnr_bound_mean": summary.psnr_bound_mean}
    kinds = {kind: [asdict(line) for line in lines] for kind, lines in summary.kinds.items()}
    return {"kinds": kinds, "skipped": skipped}


def _text(folder: Path, summary: Summary | EditSummary, skipped: int) -> str:
    from renoise.evaluation import edit_summary
    from renoise.evaluation import summary as reconstructions

    if isinstance(summary, reconstructions.Summary):
        table = reconstructions.as_markdown(summary)
    else:
        without = f"; {skipped} without edits left out" if skipped else ""
        table = f"{summary.edits} edits of {summary.pictures} images{without}\n\n{edit_summary.as_markdown(summary)}"
    return f"{table}\nwrote {folder}"


def _require_extra() -> None:
    try:
        import matplotlib as _matplotlib  # noqa: F401 - asked for before a model is loaded for nothing
        import torchmetrics as _torchmetrics  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"renoise evaluate needs packages that are not installed ({error.name}); "
            "run: pip install 'renoise[evaluation]'"
        ) from error
