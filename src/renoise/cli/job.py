"""`renoise job`: run a data set through the model, plan that, see how it stands, and try again what failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from renoise.cli import job_options as j
from renoise.cli import report
from renoise.cli.lists import numbers_in
from renoise.cli.options import DEFAULT_MODEL, Describing, ModelChoice, Reporting
from renoise.cli.silence import quiet_libraries
from renoise.cli.terminal import Terminal
from renoise.escaping import shown

if TYPE_CHECKING:
    from renoise.jobs import JobProgress, JobStatus

# Where there is no bar, so many seconds go by between two lines.
_BETWEEN_LINES = 30.0


def run(
    source: j.Input,
    out: j.Out,
    asked: j.Asked,
    inverting: j.Inverting,
    model: ModelChoice,
    rows: j.Rows,
    work: j.Work,
    threads: j.Threads = 1,
    *,
    reporting: Reporting,
) -> str:
    """Run a job, or go on with it, and return what became of its rows: `renoise job run`."""
    with _watching(reporting) as watch:
        from renoise import jobs

        status = jobs.run(
            source, out, progress=watch, **_settings(asked, inverting, model, rows, threads), **asdict(work)
        )
    return _told("job run", status, reporting)


def plan(
    source: j.Input,
    asked: j.Asked,
    inverting: j.Inverting,
    model: ModelChoice,
    rows: j.Rows,
    work: j.Work,
    threads: j.Threads = 1,
    sample: j.Sample = 8,
    *,
    reporting: Describing,
) -> str:
    """Try some rows, and return what a job will take: `renoise job plan`."""
    with Terminal(reporting.quiet) as terminal, quiet_libraries(terminal.note, debug=reporting.debug):
        from renoise import jobs

        with terminal.stage("trying some rows"):
            settings = _settings(asked, inverting, model, rows, threads)
            found = jobs.plan(source, sample=sample, **settings, **asdict(work))
    if reporting.json:
        totals = {"total_passes": found.total_passes, "seconds": found.seconds, "disk": found.disk}
        return report.as_json({**_head("job plan"), **asdict(found), **totals})
    return "\n".join(found.lines())


def status(out: j.Out, *, reporting: Describing) -> str:
    """Return what became of the rows of a job: `renoise job status`."""
    from renoise import jobs

    found = jobs.status(out)
    return report.as_json(_document("job status", found)) if reporting.json else _text(found)


def retry(out: j.Out, work: j.Work, *, reporting: Reporting) -> str:
    """Try the failed rows of a job again, and return what became of all: `renoise job retry`."""
    with _watching(reporting) as watch:
        from renoise import jobs

        found = jobs.retry(out, progress=watch, **asdict(work))
    return _told("job retry", found, reporting)


def _settings(asked: j.Asked, inverting: j.Inverting, model: ModelChoice, rows: j.Rows, threads: int) -> dict[str, Any]:
    """Return the options under the names that the library has for them."""
    return {
        "to": asked.to or (),
        "targets_column": asked.targets_column,
        "strength": asked.strength,
        "keep": asked.keep,
        "guidance_scale": asked.guidance,
        "true_cfg_scale": asked.true_cfg,
        "negative_prompt": asked.negative_prompt,
        "guidance_rescale": asked.guidance_rescale,
        "prompt": inverting.prompt,
        "num_steps": inverting.steps,
        "iterations": inverting.renoise,
        "depth": inverting.depth,
        "inversion_guidance": inverting.inversion_guidance,
        "seed": inverting.seed or 0,
        "preset": inverting.preset,
        "edit_losses": inverting.edit_losses,
        "noise_correction": inverting.noise_correction,
        "fit": inverting.fit or "crop",
        "sampler": inverting.sampler,
        "timesteps": numbers_in(inverting.timesteps),
        "sigmas": numbers_in(inverting.sigmas),
        "clip_skip": inverting.clip_skip,
        "spacing": inverting.spacing,
        "model": model.name or DEFAULT_MODEL,
        "lora": model.lora or (),
        "device": model.device,
        "dtype": model.dtype,
        "compile": model.compile,
        "threads": threads,
        **asdict(rows),
    }


@contextmanager
def _watching(reporting: Reporting) -> Iterator[Callable[[JobProgress], None]]:
    """Show how a job goes, as a bar or as lines."""
    with Terminal(reporting.quiet) as terminal, quiet_libraries(terminal.note, debug=reporting.debug):
        last = time.monotonic()
        with terminal.stage("working") as stage:

            def watch(progress: JobProgress) -> None:
                nonlocal last
                for remark in progress.remarks:
                    terminal.note(remark)
                stage.advance(progress.done, progress.total, progress.line())
                now = time.monotonic()
                if not terminal.has_bar and (now - last >= _BETWEEN_LINES or progress.done == progress.total):
                    last = now
                    terminal.note(progress.line())

            try:
                yield watch
            except KeyboardInterrupt:
                terminal.note("the same command goes on with what is missing")
                raise


def _told(command: str, status: JobStatus, reporting: Reporting) -> str:
    if reporting.json:
        return report.as_json(_document(command, status))
    return "" if reporting.quiet else _text(status)


def _head(command: str) -> dict[str, Any]:
    from renoise import __version__

    return {"command": command, "version": __version__}


def _document(command: str, status: JobStatus) -> dict[str, Any]:
    return {**_head(command), **asdict(status), "left": status.left}


def _text(status: JobStatus) -> str:
    lines = [
        f"{status.done} of {status.rows} rows are done, {status.failed} failed, {status.left} are left",
        f"{status.passes} network passes",
    ]
    if status.converged is not None:
        lines[-1] += f"; {status.converged} images near their fixed points"
    if status.psnr_image is not None:
        trip = "" if status.psnr_round_trip is None else f", {status.psnr_round_trip:.1f} dB against the round trip"
        lines.append(f"reconstructions from the noise alone: {status.psnr_image:.1f} dB against the images{trip}")
    lines += [f"{count} x {shown(error, 200)}" for error, count in status.errors.items()]
    return "\n".join([*lines, f"in {shown(status.folder)}"])
