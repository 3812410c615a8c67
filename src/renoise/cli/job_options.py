"""The options of `renoise job`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import typer

from renoise.cli import values
from renoise.cli.edit_options import KeepName
from renoise.cli.options import Settings
from renoise.cli.panels import GUIDANCE_RESCALE, NEGATIVE_PROMPT, changing, inverting

# No data set has as many rows.
_MOST = 10**12
# `renoise.jobs.settings.ENGINES`.
EngineName = Literal["local", "ray"]

_rows: Callable[..., Any] = partial(typer.Option, rich_help_panel="Rows")
_work: Callable[..., Any] = partial(typer.Option, rich_help_panel="Work")

Input = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        parser=values.place,
        help="A folder of images with metadata.jsonl, captions.jsonl or .txt files; Parquet files; WebDataset shards; "
        "what datasets' save_to_disk wrote; mini-heldout; or a URL such as s3://bucket/images.",
    ),
]
Out = Annotated[str, typer.Argument(metavar="OUT", parser=values.place, help="The folder of the job.")]
Sample = Annotated[
    int,
    _work("--sample", metavar="N", **values.whole(1, 10_000), help="How many rows to try."),
]


@dataclass(frozen=True)
class Asked:
    """What the edits of all rows shall show, and how strongly."""

    to: Annotated[
        list[str] | None,
        changing(
            "--to",
            "-t",
            metavar="TEXT",
            parser=values.readable,
            help="What the edits of all rows shall show. Give it again for more edits.",
        ),
    ] = None
    targets_column: Annotated[
        str | None,
        changing(
            "--targets-column",
            metavar="NAME",
            parser=values.readable,
            help="The column with a target, or a list of them, for each row, in place of --to.",
        ),
    ] = None
    strength: Annotated[
        float | None,
        changing(
            "--strength",
            metavar="S",
            **values.decimal(0.0, 1.0),
            help="How much edits change: 0 is the image as it was, 1 what the target would have; 0.7 is the default.",
        ),
    ] = None
    keep: Annotated[
        KeepName | None,
        changing("--keep", metavar="WHAT", help="What edits keep: auto (the default) or nothing."),
    ] = None
    guidance: Annotated[
        float | None,
        changing(
            "--guidance", "-g", metavar="G", **values.decimal(0.0), help="Guidance scale of the edits; 1 is none."
        ),
    ] = None
    true_cfg: Annotated[
        float | None,
        changing(
            "--true-cfg",
            metavar="G",
            **values.decimal(0.0),
            help="Classifier-free guidance of the edits for models that take it beside or in place of --guidance "
            "(Flux, Qwen-Image).",
        ),
    ] = None
    negative_prompt: Annotated[str | None, changing("--negative-prompt", **NEGATIVE_PROMPT)] = None
    guidance_rescale: Annotated[float | None, changing("--guidance-rescale", **GUIDANCE_RESCALE)] = None


@dataclass(frozen=True)
class Inverting(Settings):
    """What the command line says about the inversions of a job."""

    prompt: Annotated[
        str | None,
        inverting(
            "--prompt",
            "-p",
            metavar="TEXT",
            parser=values.readable,
            help="What all images show, in place of their captions.",
        ),
    ] = None


@dataclass(frozen=True)
class Rows:
    """Which columns of the input hold what, and how rows are put together."""

    image_column: Annotated[
        str | None,
        _rows(
            "--image-column",
            metavar="NAME",
            parser=values.readable,
            help="The column of images: bytes or paths. By default image, jpg, png, file_name and the like.",
        ),
    ] = None
    caption_column: Annotated[
        str | None,
        _rows(
            "--caption-column",
            metavar="NAME",
            parser=values.readable,
            help="The column of captions. By default caption, text, prompt or txt.",
        ),
    ] = None
    id_column: Annotated[
        str | None,
        _rows(
            "--id-column",
            metavar="NAME",
            parser=values.readable,
            help="The column of ids. By default id, or a shard's names; without them ids are made from the content.",
        ),
    ] = None
    rows_per_block: Annotated[
        int,
        _rows(
            "--rows-per-block",
            metavar="N",
            **values.whole(1, 1_000_000),
            help="The rows whose results stand in one table, and are done again if the job ends amid them.",
        ),
    ] = 64
    batch: Annotated[
        int,
        _rows("--batch", metavar="N", **values.whole(1, 1_000_000), help="The most images worked on at a time."),
    ] = 8
    inversions: Annotated[bool, _rows("--inversions", help="Write the inversions, too.")] = False
    quality: Annotated[
        bool,
        _rows(
            "--quality/--no-quality",
            help="Draw every image again from its noise alone, and measure it. It costs as many passes as an edit.",
        ),
    ] = True


@dataclass(frozen=True)
class Work:
    """How the job runs; none of it changes a result."""

    engine: Annotated[
        EngineName,
        _work("--engine", metavar="NAME", help="local (this process alone, the default) or ray."),
    ] = "local"
    workers: Annotated[
        int, _work("--workers", metavar="N", **values.whole(1, 100_000), help="How many workers; several need ray.")
    ] = 1
    gpus_per_worker: Annotated[
        float | None,
        _work(
            "--gpus-per-worker",
            metavar="F",
            **values.decimal(0.0, 1024.0),
            help="The share of a GPU that a worker takes, such as 0.5; with ray.",
        ),
    ] = None
    address: Annotated[
        str | None,
        _work(
            "--address",
            metavar="TEXT",
            parser=values.readable,
            help="A Ray cluster that runs already; by default Ray is started here, or RAY_ADDRESS names one.",
        ),
    ] = None
    max_failures: Annotated[
        int | None,
        _work(
            "--max-failures",
            metavar="N",
            **values.whole(1, _MOST),
            help="So many failed rows stop the job. By default a tenth of all, and no fewer than 20.",
        ),
    ] = None


Threads = Annotated[
    int,
    _rows(
        "--threads",
        metavar="N",
        **values.whole(1, 1024),
        help="The threads of each worker on a CPU. Results differ in their last bits with another number.",
    ),
]
