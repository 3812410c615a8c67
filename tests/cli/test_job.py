"""`renoise job`: what it refuses, and in which words, before a model is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from renoise import jobs
from renoise.cli import job
from renoise.jobs import JobProgress, JobStatus

STATUS = JobStatus("/out", "photos", 48, 43, 4, 516, 40, 21.5, None, {"no image \x1b[31m": 3, "no caption": 1})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the functions behind the command are asked for."""
    seen: dict[str, Any] = {}

    def run(source: str, out: str, **given: Any) -> JobStatus:
        seen.update(given, source=source, out=out)
        given["progress"](JobProgress(48, 48, 4, 516, 48, 6.0, ("a remark",)))
        return STATUS

    def retry(out: str, **given: Any) -> JobStatus:
        seen.update(given, out=out)
        return STATUS

    monkeypatch.setattr(jobs, "run", run, raising=False)
    monkeypatch.setattr(jobs, "retry", retry, raising=False)
    monkeypatch.setattr(jobs, "status", lambda out: STATUS, raising=False)
    return seen


def test_options_reach_the_library_under_its_names(renoise: Any, asked: dict[str, Any]) -> None:
    outcome = renoise(
        *("job", "run", "photos", "out", "--to", "a dog", "--to", "a fox", "--model", "mini-turbo", "--lora", "a:0.5"),
        *(
            "--preset",
            "exact",
            "--steps",
            "8",
            "--depth",
            "0.5",
            "--strength",
            "0.25",
            "--guidance",
            "2",
            "--seed",
            "7",
        ),
        *("--id-column", "key", "--batch", "4", "--rows-per-block", "32", "--inversions", "--no-quality"),
        *("--engine", "ray", "--workers", "3", "--gpus-per-worker", "0.5", "--address", "auto", "--max-failures", "9"),
    )
    assert outcome.code == 0
    wanted = {
        "source": "photos",
        "out": "out",
        "to": ["a dog", "a fox"],
        "model": "mini-turbo",
        "lora": ["a:0.5"],
        "preset": "exact",
        "num_steps": 8,
        "depth": 0.5,
        "strength": 0.25,
        "guidance_scale": 2.0,
        "seed": 7,
        "id_column": "key",
        "batch": 4,
        "rows_per_block": 32,
        "inversions": True,
        "quality": False,
        "engine": "ray",
        "workers": 3,
        "gpus_per_worker": 0.5,
        "address": "auto",
        "max_failures": 9,
    }
    assert {name: asked[name] for name in wanted} == wanted
    own, running = job_settings(asked)
    assert jobs.JobSettings(**own).num_steps == 8
    assert jobs.Running(**running).workers == 3


def job_settings(asked: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    from renoise.jobs.settings import divided

    return divided({name: value for name, value in asked.items() if name not in ("source", "out", "progress")})


def test_a_run_says_how_it_goes_and_what_became_of_it(renoise: Any, asked: dict[str, Any]) -> None:
    outcome = renoise("job", "run", "photos", "out", "--to", "a dog")
    assert "renoise: a remark" in outcome.err
    assert "48/48 images, 8.00 images/s, 516 passes, 4 failed" in outcome.err
    assert "43 of 48 rows are done, 4 failed, 1 are left" in outcome.out
    assert "3 x no image \\x1b[31m" in outcome.out
    assert "\x1b" not in outcome.out


@pytest.mark.parametrize("command", [("run", "photos", "out", "--to", "a"), ("retry", "out"), ("status", "out")])
def test_every_command_has_a_json_document(command: tuple[str, ...], renoise: Any, asked: dict[str, Any]) -> None:
    document = renoise("job", *command, "--json").json
    assert document["command"] == f"job {command[0]}"
    assert (document["rows"], document["done"], document["failed"], document["left"]) == (48, 43, 4, 1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("run", "photos", "out"), "what edits shall show is said by --to for all rows alike, or by --targets-column"),
        (("run", "photos", "out", "--to", "a", "--workers", "2"), "--workers has no effect in this process alone"),
        (("run", "cat.png", "s3://bucket/out", "--to", "a"), "results are written to a folder, not to a URL"),
        (("run", "none", "out", "--to", "a"), "there is no input"),
        (("plan", "none", "--to", "a"), "there is no input"),
        (("status", "none"), "holds no job"),
        (("retry", "none"), "holds no job"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    arguments: tuple[str, ...], error: str, renoise: Any, no_model: None, folder: Path
) -> None:
    pytest.importorskip("pyarrow")
    outcome = renoise("job", *arguments)
    assert outcome.code == 1
    assert error in outcome.error
    assert {path.name for path in folder.iterdir()} == {"cat.png"}


@pytest.mark.parametrize("given", [("--workers", "0"), ("--engine", "spark"), ("--strength", "2"), ("--batch", "x")])
def test_wrong_values_are_wrong_usage(given: tuple[str, str], renoise: Any) -> None:
    assert renoise("job", "run", "photos", "out", "--to", "a", *given).code == 2


def test_without_the_extra_it_says_what_to_install(renoise: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("pyarrow", "pyarrow.fs"):
        monkeypatch.setitem(sys.modules, name, None)
    assert renoise("job", "run", "cat.png", "out", "--to", "a").error.endswith("run: pip install 'renoise[jobs]'")


def test_an_interrupt_says_how_to_go_on(renoise: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "run", interrupted, raising=False)
    outcome = renoise("job", "run", "photos", "out", "--to", "a")
    assert outcome.code == 130
    assert "the same command goes on with what is missing" in outcome.err


def test_a_plan_reads_as_sentences(renoise: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = jobs.Plan(1_000_000, 15_625, 2, 8, 0, 12.0, True, 20.0, 5.0, 2 * 10**9, 400_000.0, "cuda:0")
    monkeypatch.setattr(jobs, "plan", lambda *args, **given: plan, raising=False)
    assert renoise("job", "plan", "photos", "--to", "a").out.splitlines() == [
        "1,000,000 rows in 15,625 blocks",
        "12 network passes a row (exactly), 12,000,000 in all",
        "20 ms a pass, measured with 8 rows on cuda:0",
        "1 d 9 h with 2 workers",
        "2 GB of memory for each worker",
        "400 GB on the disk",
    ]
    assert json.loads(renoise("job", "plan", "photos", "--to", "a", "--json").out)["total_passes"] == 12_000_000


def test_settings_of_the_command_are_all_those_of_the_library() -> None:
    from dataclasses import asdict, fields

    from renoise.cli.job_options import Asked, Inverting, Rows, Work
    from renoise.cli.options import ModelChoice

    given = job._settings(Asked(to=["a"]), Inverting(), ModelChoice(), Rows(), 1)
    assert set(given) == {field.name for field in fields(jobs.JobSettings)}
    assert {field.name for field in fields(Work)} == {field.name for field in fields(jobs.Running)}
    assert jobs.JobSettings(**given) == jobs.JobSettings(to="a")
    assert asdict(Work()) == asdict(jobs.Running())
