"""What a job costs beside the model: the engines against a plain loop, and where Ray itself becomes the limit.

    python benchmarks/jobs.py [--sections throughput scheduling] [--rows 96] [--model mini-turbo] [--workers 1 2]

    throughput  images a second of a plain loop over the same rows, of the local engine, and of Ray with some workers,
                from the first block to the last, without loading; and what an image costs beside the model
    scheduling  100,000 rows and 1,000 workers, each of which needs 10 ms an image: a few actors stand for the workers,
                and sleep in place of the model. Where the time is more than that of the workers, Ray is the limit

All tables are Markdown. Run it alone on a machine: both sections use all of it.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

import renoise_mini
from renoise import Editor, jobs
from renoise.jobs.engines.ray import RayEngine
from renoise.jobs.rows import Block, Span
from renoise.jobs.settings import JobSettings, Running
from renoise.jobs.sources import open_source
from renoise.jobs.worker import Report, Task, Worker

SECTIONS = ("throughput", "scheduling")
SECONDS_AN_IMAGE = 0.01


class StandIn(Worker):
    """A worker that sleeps for as long as its model would work, divided by the workers for which it stands.

    Args:
        share: how many workers it stands for.
        given: the arguments of a worker.
    """

    def __init__(self, share: float, **given: Any) -> None:
        super().__init__(**given)
        self._share = share

    def work(self, task: Task) -> Report:
        """Sleep, and report the block."""
        time.sleep(task.block.count * SECONDS_AN_IMAGE / self._share)
        return Report(task.block.number, task.block.count)


def rows_of(folder: Path, count: int) -> tuple[Path, list[dict[str, Any]]]:
    """Write a list of so many held-out images, each of them as often as needed, and return it with its rows."""
    held = Path(renoise_mini.path("heldout"))
    known = [json.loads(line) for line in (held / "captions.jsonl").read_text().splitlines()]
    rows = []
    for number in range(count):
        one = known[number % len(known)]
        name = f"{number:05d}.png"
        (folder / name).write_bytes((held / one["file"]).read_bytes())
        rows.append({"id": str(number), "file": name, "caption": one["caption"], "edits": one["edits"][:1]})
    (folder / "captions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder, rows


def throughput(count: int, model: str, workers: list[int]) -> None:
    """Print the throughput of every way to do the same work."""
    batch = 8
    settings: dict[str, Any] = {"targets_column": "edits", "model": model, "quality": False, "batch": batch}
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "rows").mkdir()
        folder, rows = rows_of(Path(temporary) / "rows", count)
        torch.set_num_threads(1)
        editor = Editor.from_pretrained(model)

        def loop(some: list[dict[str, Any]]) -> None:
            for start in range(0, len(some), batch):
                own = some[start : start + batch]
                inversion = editor.invert([folder / row["file"] for row in own], [row["caption"] for row in own])
                for row, image in zip(own, editor.edit(inversion, [row["edits"][0] for row in own]), strict=True):
                    image.save(Path(temporary) / f"{row['id']}.png")

        loop(rows[:batch])  # the first passes of a process are slow
        begun = time.perf_counter()
        loop(rows)
        plain = count / (time.perf_counter() - begun)
        ways: list[tuple[str, int, dict[str, Any]]] = [("local", 1, {})]
        ways += [("ray", number, {"engine": "ray", "workers": number}) for number in workers]
        print(f"\n{count} rows, {model}, one thread each\n\n| way | images/s | of the loop | ms an image beside it |")
        print("| --- | --- | --- | --- |")
        print(f"| plain loop | {plain:.2f} | 1.00 | |")
        for name, number, given in ways:
            seen: list[jobs.JobProgress] = []
            out = Path(temporary) / f"{name}-{number}"
            jobs.run(folder, out, progress=seen.append, rows_per_block=16, **settings, **given)
            # From the first report on: before it, workers load the model.
            first, last = seen[0], seen[-1]
            rate = (last.worked - first.worked) / (last.seconds - first.seconds)
            beside = 1000.0 * (number / rate - 1.0 / plain)
            print(f"| {name}, workers: {number} | {rate:.2f} | {rate / plain:.2f} | {beside:.1f} |")


def scheduling(rows: int, workers: int, actors: int) -> None:
    """Print how long Ray takes for rows that workers would do in no time, by the size of blocks."""
    ideal = rows * SECONDS_AN_IMAGE / workers
    print(f"\n{rows:,} rows, {workers:,} workers of 10 ms an image ({actors} actors stand for them)\n")
    print(f"| rows a block | blocks | seconds (workers alone: {ideal:.2f}) | blocks/s | workers that Ray keeps busy |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "rows").mkdir()
        folder, _ = rows_of(Path(temporary) / "rows", 1)
        settings = JobSettings(targets_column="edits", model="mini-turbo")
        source = open_source(str(folder), settings.columns)
        running = Running(engine="ray", workers=actors)
        engine = RayEngine(running, source, settings, temporary, partial(StandIn, workers / actors))
        with engine.open():
            for size in (512, 64, 8):
                spans = (Span("captions.jsonl", 0, 1),)
                starts = range(0, rows, size)
                tasks = [Task(Block(i, min(size, rows - start), spans)) for i, start in enumerate(starts)]
                reports = engine.run(tasks, {})
                next(reports)  # actors have started by then
                begun = time.perf_counter()
                done = sum(1 for _ in reports)
                seconds = time.perf_counter() - begun
                rate = done / seconds
                busy = rate * size * SECONDS_AN_IMAGE
                print(f"| {size} | {len(tasks):,} | {seconds:.2f} | {rate:.0f} | {busy:,.0f} |", flush=True)


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--model", default="mini-turbo")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--simulated-rows", type=int, default=100_000)
    parser.add_argument("--simulated-workers", type=int, default=1000)
    parser.add_argument("--actors", type=int, default=4)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if "throughput" in given.sections:
        throughput(given.rows, given.model, given.workers)
    if "scheduling" in given.sections:
        scheduling(given.simulated_rows, given.simulated_workers, given.actors)


if __name__ == "__main__":
    main()
