"""`renoise evaluate`: measure a named run, and write its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from renoise.cli import evaluation_options as e
from renoise.cli import options as o
from renoise.cli import report
from renoise.cli.destinations import slug
from renoise.cli.failures import UsageError
from renoise.cli.lists import seeds_in
from renoise.cli.options import DEFAULT_MODEL, ModelChoice, Reporting
from renoise.cli.preset_options import FewStepModel
from renoise.cli.silence import quiet_libraries
from renoise.cli.terminal import Terminal
from renoise.cli.work import working
from renoise.escaping import shown

if TYPE_CHECKING:
    from renoise.evaluation.judges import Judges
    from renoise.evaluation.measurement import Measurement
    from renoise.evaluation.summary import Summary


def evaluate(
    run: e.Run,
    data: e.Data = "mini-heldout",
    limit: e.Limit = None,
    out: e.ResultFolder = None,
    batch: e.Batch = 8,
    seed: o.Seed = None,
    clip: e.ClipFolder = None,
    dino: e.DinoFolder = None,
    sampler: o.Sampler = None,
    spacing: o.Spacing = None,
    preset: FewStepModel = None,
    seeds: e.Seeds = None,
    skip: e.Skip = 0,
    *,
    model: ModelChoice,
    reporting: Reporting,
) -> str:
    """Measure a run, write its folder, and return its summary: `renoise evaluate`."""
    if not (seed is None or seeds is None):
        raise UsageError("--seed and --seeds are given; give one of them")
    every_seed = seeds_in(seeds) or (seed or 0,)
    if not (clip is None and dino is None) and not _draws_edits(run):
        raise UsageError(f"--clip and --dino judge edits, which {run} does not draw; leave them out or run editing")
    _require_extra()
    from renoise.evaluation import data as data_sets

    edits = _draws_edits(run)
    folder = Path("evaluation") / f"{run}-{slug(model.name or DEFAULT_MODEL)}" if out is None else out
    # Read before the model is, so that a wrong name costs no loading.
    examples = data_sets.load(data, limit=None if limit is None else skip + limit)
    measured = data_sets.without_first(examples, skip, data)
    skipped = len(measured) - len(data_sets.editable(measured, data)) if edits else 0
    with _usable(folder):
        judges = _judges(clip, dino, model, reporting)
        with working(model, reporting, sampler, spacing, preset) as work:
            from renoise.evaluation import outputs, runner

            task = runner.Task(run, work.editor, data, folder, limit, every_seed, batch)
            task = replace(task, skip=skip) if judges is None else replace(task, skip=skip, judges=judges)
            with work.stage("measuring") as stage:
                measurements = runner.measure(
                    task, lambda p: stage.tell(p.done, p.total, f"{p.label} ({p.done}/{p.total})"), examples
                )
            with work.stage("writing"):
                summary = outputs.write(folder, run, measurements, task.plan)
        _require_some(measurements, folder)
    if reporting.json:
        from renoise import __version__

        return report.as_json(
            {
                "command": "evaluate",
                "version": __version__,
                "model": work.model,
                "data": data,
                "run": run,
                "seed": every_seed[0] if len(every_seed) == 1 else None,
                "seeds": list(every_seed),
                "folder": str(folder),
                "summary": [dict(line) for line in summary.lines],
                **_more(summary, skipped),
            }
        )
    return "" if reporting.quiet else _text(folder, summary, skipped)


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Make the folder for results and try it out, before a model is loaded for nothing."""
    from renoise.evaluation.folder import usable
    from renoise.evaluation.results import RESULTS, Results

    with usable(folder):
        Results(folder / RESULTS)
        yield


def _require_some(measurements: Sequence[Measurement], folder: Path) -> None:
    """Raise an error if nothing could be measured; where only some failed, the tables say how many and why."""
    from renoise.errors import RenoiseError

    if all(m.error is not None for m in measurements):
        first = measurements[0]
        raise RenoiseError(
            f"none of the {len(measurements)} measurements succeeded, first {first.image}: {first.error}",
            remedy=f"see {folder / 'report.html'}",
        )


def _judges(clip: Path | None, dino: Path | None, model: ModelChoice, reporting: Reporting) -> Judges | None:
    """Load CLIP and DINO before the model, so that a wrong folder costs no loading either."""
    if clip is None and dino is None:
        return None
    with (
        Terminal(reporting.quiet) as terminal,
        terminal.stage("loading what judges edits"),
        quiet_libraries(terminal.note, debug=reporting.debug),
    ):
        from renoise.evaluation.judges import Judges

        return Judges.load(clip, dino, model.device)


def _draws_edits(run: str) -> bool:
    """Return whether a run draws edits. Asking this imports torch."""
    from renoise.evaluation import runs

    return runs.named(run).edits


def _more(summary: Summary, skipped: int) -> dict[str, object]:
    """Return what else the document says: the bound of reconstructions, or the types of edits."""
    if not summary.edits:
        return {"psnr_bound_mean": summary.psnr_bound_mean}
    types = {name: [dict(line) for line in lines] for name, lines in summary.edit_types.items()}
    return {"kinds": types, "skipped": skipped}


def _text(folder: Path, summary: Summary, skipped: int) -> str:
    from renoise.evaluation.summary import as_markdown, seeds_in_words

    table = as_markdown(summary)
    if summary.edits:
        without = f"; {skipped} without edits left out" if skipped else ""
        table = f"{summary.asked} edits of {summary.images} images{seeds_in_words(summary)}{without}\n\n{table}"
    return f"{table}\nwrote {shown(folder)}"


def _require_extra() -> None:
    try:
        import jinja2 as _jinja2  # noqa: F401 - asked for before a model is loaded for nothing
        import matplotlib as _matplotlib  # noqa: F401
        import msgspec as _msgspec  # noqa: F401
        import torchmetrics as _torchmetrics  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"renoise evaluate needs packages that are not installed ({error.name}); "
            "run: pip install 'renoise[evaluation]'"
        ) from error
    except ValueError as error:
        raise UsageError(f"matplotlib refuses its settings: {error}; correct MPLBACKEND") from error
