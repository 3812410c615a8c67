"""A job in one process: what it leaves behind, and that it goes on wherever it was ended."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

import job_inputs as inputs
from job_inputs import OPTIONS, SETTINGS, command, contents, table
from renoise import ConfigError, Editor, Inversion, NumericalError, RenoiseError, StorageError, jobs
from renoise.jobs.manifest import Inputs
from renoise.jobs.places import Place
from renoise.jobs.results import edit_file, inversion_file
from renoise.jobs.seeds import seed_of

pytestmark = pytest.mark.jobs


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows without a fault."""
    pytest.importorskip("pyarrow")
    return Path(inputs.as_parquet(tmp_path_factory.mktemp("few") / "rows.parquet", inputs.records(12)))


BAD = {"row-003", "row-011", "row-020", "row-031"}


def test_every_row_is_listed_once_and_bad_ones_say_why(by_one: Path) -> None:
    listed = {row["id"]: row for row in table(by_one)}
    assert len(table(by_one)) == len(listed) == 48
    assert {id_ for id_, row in listed.items() if row["status"] == "failed"} == BAD
    assert "the image of row row-003" in listed["row-003"]["error"]
    assert "row-011" in listed["row-011"]["error"]
    assert "the caption is missing" in listed["row-020"]["error"]
    assert "there are no targets in the column targets" in listed["row-031"]["error"]
    for id_, row in listed.items():
        if id_ in BAD:
            assert row["file"] is None
            assert row["passes"] == 0
            continue
        assert row["status"] == "done"
        assert row["error"] is None
        assert row["seed"] == seed_of(id_, 0)
        # The edit of a model of many steps is guided with this preset, so that each of its two steps takes two passes.
        assert row["passes"] == 2 + 2 + 4 * len(row["targets"])
        assert row["residual"] >= 0.0
        assert row["converged"] in (True, False)
        assert row["psnr_image"] > 0.0
        assert row["psnr_round_trip"] > 0.0
        for number in range(len(row["targets"])):
            with Image.open(by_one / edit_file(id_, number)) as image:
                assert image.format == "PNG"


def test_nothing_else_is_left_behind(by_one: Path) -> None:
    edits = sum(len(row["targets"]) for row in table(by_one) if row["status"] == "done")
    assert len(contents(by_one)) == 8 + edits
    assert {path.name for path in by_one.iterdir()} == {"edits", "metrics", "manifest.json", "blocks.jsonl", ".lock"}


def test_a_preset_that_solves_nothing_has_nothing_to_converge(few: Path, tmp_path: Path) -> None:
    assert jobs.run(few, tmp_path / "out", **{**SETTINGS, "preset": "edit", "quality": False}).converged is None
    assert {row["converged"] for row in table(tmp_path / "out")} == {None}


def test_status_counts_what_the_tables_hold(by_one: Path) -> None:
    found = jobs.status(by_one)
    assert (found.rows, found.done, found.failed, found.left) == (48, 44, 4, 0)
    assert found.passes == sum(row["passes"] for row in table(by_one))
    assert found.converged == sum(bool(row["converged"]) for row in table(by_one))
    assert sum(found.errors.values()) == 4


def test_the_command_gives_the_same_files(rows: Path, by_one: Path, tmp_path: Path) -> None:
    process = command("job", "run", rows, tmp_path / "out", *OPTIONS, "--json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert contents(tmp_path / "out") == contents(by_one)
    told = json.loads(out)
    assert (told["done"], told["failed"], told["left"]) == (44, 4, 0)
    assert "48/48 images" in err
    assert "4 failed" in err


def test_a_row_alone_has_the_edit_that_an_editor_gives(few: Path, tmp_path: Path) -> None:
    jobs.run(few, tmp_path / "out", **{**SETTINGS, "batch": 1, "inversions": True})
    row = next(row for row in table(tmp_path / "out") if row["id"] == "row-005")
    editor = Editor.from_pretrained(SETTINGS["model"], device="cpu")
    image = Image.open(io.BytesIO(inputs.png(5)))
    config = editor.config("reverse", num_steps=2, seed=row["seed"])
    inversion = editor.invert(image, row["prompt"], config=config)
    for number, target in enumerate(row["targets"]):
        with Image.open(tmp_path / "out" / edit_file("row-005", number)) as written:
            assert written.tobytes() == editor.edit(inversion, target).tobytes()
    stored = Inversion.load(tmp_path / "out" / inversion_file("row-005"))
    assert stored.latents.equal(inversion.latents)
    assert (stored.seed, stored.prompt, stored.batched) == (row["seed"], row["prompt"], False)


def test_stored_inversions_of_a_batch_are_edited_alone(few: Path, tmp_path: Path) -> None:
    jobs.run(few, tmp_path / "out", **{**SETTINGS, "inversions": True, "preset": "edit"})
    editor = Editor.from_pretrained(SETTINGS["model"], device="cpu")
    row = next(row for row in table(tmp_path / "out") if row["id"] == "row-007")
    edited = editor.edit(Inversion.load(tmp_path / "out" / row["inversion"]), row["targets"][0])
    with Image.open(tmp_path / "out" / row["file"]) as written:
        levels = zip(written.tobytes(), edited.tobytes(), strict=True)
        assert max(abs(a - b) for a, b in levels) <= 2  # a batch rounds in another way


@pytest.mark.parametrize("moment", ["before the first table", "after some tables", "before the last one"])
def test_a_job_that_was_killed_goes_on(
    moment: str, rows: Path, by_one: Path, tmp_path: Path, killed: Callable[..., None]
) -> None:
    out = tmp_path / "out"
    tables = {"before the first table": 0, "after some tables": 3, "before the last one": 7}[moment]

    def reached() -> bool:
        edits = len(list((out / "edits").rglob("*.png")))
        return len(list((out / "metrics").glob("*.parquet"))) >= tables and edits > 8 * tables

    killed(reached, "job", "run", rows, out, *OPTIONS)
    before = {name: os.stat(out / name).st_mtime_ns for name in contents(out) if name.startswith("metrics")}
    assert len(before) < 8
    assert jobs.status(out).left > 0
    assert jobs.run(rows, out, **SETTINGS).left == 0
    assert contents(out) == contents(by_one)
    assert {name: os.stat(out / name).st_mtime_ns for name in before} == before


def test_a_job_that_is_done_loads_no_model(rows: Path, by_one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Editor, "from_pretrained", lambda *args, **options: pytest.fail("the model was loaded"))
    assert jobs.run(rows, by_one, **SETTINGS).done == 44


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"strength": 0.5}, "strength was None and is 0.5"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"model": "mini"}, "model was '.*tiny-sd' and is 'mini'"),
        ({"rows_per_block": 7}, "rows_per_block was 6 and is 7"),
        ({"threads": 2}, "threads was 1 and is 2"),
        ({"targets_column": None, "to": "a dog"}, r"to was \[\] and is \['a dog'\]"),
    ],
)
def test_another_configuration_is_refused(changed: dict[str, Any], told: str, rows: Path, by_one: Path) -> None:
    before = contents(by_one)
    with pytest.raises(ConfigError, match=f"holds another job: .*{told}"):
        jobs.run(rows, by_one, **{**SETTINGS, **changed})
    assert contents(by_one) == before


def test_other_inputs_and_versions_are_refused(few: Path, tmp_path: Path) -> None:
    own = tmp_path / "rows.parquet"
    own.write_bytes(few.read_bytes())
    jobs.run(own, tmp_path / "out", **SETTINGS)
    inputs.as_parquet(own, [{**row, "caption": "a bird"} for row in inputs.records(12)])
    with pytest.raises(ConfigError, match="the input's files have changed: 1 files of"):
        jobs.run(own, tmp_path / "out", **SETTINGS)
    with pytest.raises(ConfigError, match=r"the input was .*rows.parquet and is .*other.parquet"):
        jobs.run(inputs.as_parquet(tmp_path / "other.parquet", inputs.records(12)), tmp_path / "out", **SETTINGS)
    manifest = tmp_path / "out" / "manifest.json"
    record = json.loads(manifest.read_text())
    record["inputs"] = msgspec.to_builtins(Inputs.of(Place(str(own)).files))
    record["versions"]["torch"] = "1.0"
    manifest.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=r"torch was 1.0 and is "):
        jobs.run(own, tmp_path / "out", **SETTINGS)


def test_weights_that_changed_under_a_name_stop_the_job(rows: Path, by_one: Path, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "out"
    shutil.copytree(by_one, out)
    manifest = out / "manifest.json"
    record = json.loads(manifest.read_text())
    record["model"]["fingerprint"]["layout"] = "another"
    manifest.write_text(json.dumps(record))
    (out / "metrics" / "block-0000002.parquet").unlink()
    with pytest.raises(RenoiseError, match="the job was begun with another model: it has other weights or adapters"):
        jobs.run(rows, out, **SETTINGS)


def test_a_mended_input_is_tried_again_with_its_failed_rows_alone(tmp_path: Path) -> None:
    path = inputs.as_parquet(tmp_path / "rows.parquet", inputs.records(12, bad=False))
    broken = inputs.records(12)
    broken[3]["image"], broken[9]["caption"] = b"no image", ""
    inputs.as_parquet(path, broken)
    assert jobs.run(path, tmp_path / "out", **SETTINGS).failed == 2
    before = contents(tmp_path / "out")
    assert jobs.retry(tmp_path / "out").failed == 2
    assert contents(tmp_path / "out") == before
    inputs.as_parquet(path, inputs.records(12))
    found = jobs.retry(tmp_path / "out")
    assert (found.done, found.failed) == (12, 0)
    after = contents(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {
        "metrics/block-0000000.parquet",
        "metrics/block-0000001.parquet",
    }
    assert {edit_file("row-003", 0), edit_file("row-003", 1), edit_file("row-009", 0)} <= set(after) - set(before)
    assert jobs.run(path, tmp_path / "out", **SETTINGS).done == 12


def test_a_retry_wants_the_same_rows(tmp_path: Path) -> None:
    rows = inputs.records(6)
    path = inputs.as_parquet(tmp_path / "rows.parquet", [{**rows[0], "image": b"no image"}, *rows[1:]])
    jobs.run(path, tmp_path / "out", **SETTINGS)
    inputs.as_parquet(path, rows[:5])
    with pytest.raises(ConfigError, match="the input's"):
        jobs.retry(tmp_path / "out")
    with pytest.raises(ConfigError, match="the settings of a job stay as they are, so that seed cannot be given"):
        jobs.retry(tmp_path / "out", seed=1)
    with pytest.raises(ConfigError, match="holds no job"):
        jobs.retry(tmp_path / "none")


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Inversions of a batch with one caption fail; the sizes of the batches that were tried."""
    invert, tried = Editor.invert, []

    def failing(self: Editor, image: Any, prompt: Any, **options: Any) -> Any:
        tried.append(len(prompt))
        if "poison" in prompt:
            raise NumericalError("NaN in the latents")
        return invert(self, image, prompt, **options)

    monkeypatch.setattr(Editor, "invert", failing)
    return tried


def test_a_batch_that_fails_is_tried_image_by_image(tmp_path: Path, diverging: list[int]) -> None:
    rows = [{**row, "targets": ["a dog"]} for row in inputs.records(8)]
    rows[2]["caption"] = "poison"
    path = inputs.as_parquet(tmp_path / "rows.parquet", rows)
    found = jobs.run(path, tmp_path / "out", **{**SETTINGS, "rows_per_block": 8})
    assert (found.done, found.failed) == (7, 1)
    assert found.errors == {"NaN in the latents": 1}
    assert sorted(diverging) == [1, 1, 1, 1, 4, 4]


def test_too_many_failures_stop_the_job_and_it_goes_on(tmp_path: Path, diverging: list[int]) -> None:
    rows = [{**row, "caption": "poison" if n < 12 else "a cat"} for n, row in enumerate(inputs.records(18))]
    path = inputs.as_parquet(tmp_path / "rows.parquet", rows)
    with pytest.raises(RenoiseError, match="6 of 18 rows have failed, and 5 are the limit; see what failed") as error:
        jobs.run(path, tmp_path / "out", **SETTINGS, max_failures=5)
    assert "max_failures" in str(error.value)
    assert jobs.status(tmp_path / "out").left == 12
    with pytest.raises(RenoiseError, match="6 of 18 rows have failed"):
        jobs.run(path, tmp_path / "out", **SETTINGS, max_failures=5)
    assert jobs.run(path, tmp_path / "out", **SETTINGS, max_failures=13).failed == 12


def test_an_error_that_nobody_foresaw_is_the_rows_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Editor, *args: Any, **options: Any) -> Any:
        raise ZeroDivisionError("in a library")

    monkeypatch.setattr(Editor, "edit", failing)
    path = inputs.as_parquet(tmp_path / "rows.parquet", inputs.records(3))
    found = jobs.run(path, tmp_path / "out", **SETTINGS, max_failures=4)
    assert found.errors == {"ZeroDivisionError: in a library": 3}


def test_a_full_disk_ends_the_job_with_one_line_and_it_goes_on(rows: Path, by_one: Path, tmp_path: Path) -> None:
    # Files of more than a few blocks cannot be written, as on a disk that is nearly full.
    script = f"ulimit -f 4; exec {sys.executable} -m renoise job run {rows} {tmp_path / 'out'} {' '.join(OPTIONS)} -q"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ})
    lines = [line for line in done.stderr.splitlines() if line.startswith("renoise: ")]
    assert done.returncode == 1
    assert len(lines) == 1
    assert "the job has stopped: cannot write" in lines[0]
    assert "free space, and give the same command to go on" in lines[0]
    assert not list(tmp_path.rglob("*.part"))
    jobs.run(rows, tmp_path / "out", **SETTINGS)
    assert contents(tmp_path / "out") == contents(by_one)


def test_two_processes_do_not_work_in_one_folder(rows: Path, by_one: Path) -> None:
    from renoise.files import locked

    with (
        (by_one / ".lock").open("ab") as file,
        locked(file, 0),
        pytest.raises(StorageError, match="another process"),
    ):
        jobs.run(rows, by_one, **SETTINGS)


def test_an_interrupt_leaves_a_job_that_goes_on(few: Path, tmp_path: Path) -> None:
    def interrupt(progress: jobs.JobProgress) -> None:
        assert progress.total == 12
        if progress.done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.run(few, tmp_path / "out", progress=interrupt, **SETTINGS)
    assert jobs.status(tmp_path / "out").left == 6
    assert jobs.run(few, tmp_path / "out", **SETTINGS).done == 12


def test_a_folder_of_something_else_is_left_alone(rows: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty, and holds no job"):
        jobs.run(rows, tmp_path, **SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigError, match="not to a URL"):
        jobs.run(rows, "s3://bucket/out", **SETTINGS)


def test_a_model_that_cannot_be_loaded_leaves_nothing(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(RenoiseError, match="none"):
        jobs.run(rows, tmp_path / "out", **{**SETTINGS, "model": "/nowhere/none"})
    assert not (tmp_path / "out").exists()


def test_a_plan_counts_the_passes_of_every_row(rows: Path) -> None:
    options = {name: value for name, value in SETTINGS.items() if name not in ("targets_column", "preset")}
    found = jobs.plan(rows, sample=6, to=["a dog", "a fox"], **options)
    assert (found.rows, found.blocks, found.sampled, found.failed) == (48, 8, 6, 1)
    assert found.exact
    assert found.passes == 2 + 2 + 2 * 2
    assert found.total_passes == 48 * 8
    assert found.seconds > 0
    assert found.memory > 10**8
    assert found.disk > 48 * 300


def test_kept_sizes_go_in_batches_of_their_own(tmp_path: Path) -> None:
    rows = [{**row, "image": inputs.png(n, 40 + 24 * (n % 2))} for n, row in enumerate(inputs.records(6))]
    path = inputs.as_parquet(tmp_path / "rows.parquet", rows)
    assert jobs.run(path, tmp_path / "out", **{**SETTINGS, "fit": "keep"}).done == 6
    for n, row in enumerate(table(tmp_path / "out")):
        with Image.open(tmp_path / "out" / row["file"]) as image:
            assert image.size == (40 + 24 * (n % 2),) * 2
