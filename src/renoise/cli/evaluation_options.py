"""The options of `renoise evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from renoise.cli import values
from renoise.cli.lists import checked_seeds

# No data set has as many images.
_MOST = 10**9
# `renoise.evaluation.runs.RUNS`: the comparisons.
RunName = Literal["table1", "table2", "figure7", "figure8", "frontier", "empty-prompt", "editing"]

_option: Callable[..., Any] = partial(typer.Option, rich_help_panel="Data and results")

Run = Annotated[
    RunName,
    typer.Argument(
        metavar="RUN",
        help="What to compare: table1, one number of network passes spent in several ways; table2, what each part of "
        "the method adds; figure7, the residual of each iteration; figure8, reconstruction against network passes for "
        "each sampler; frontier, reconstruction and noise against network passes for every method; empty-prompt, "
        "captions against none; editing, what edits keep and how they fit their prompts.",
        show_default=False,
    ),
]
Data = Annotated[
    str,
    _option(
        "--data",
        metavar="NAME",
        help="mini-heldout (bundled images that mini never saw), mini-edits (the same with the true results of their "
        "edits), a folder with captions, COCO captions, PIE-Bench, "
        "or the name of a Hugging Face data set that is on this machine.",
    ),
]
Limit = Annotated[
    int | None,
    _option("--limit", "-n", metavar="N", **values.whole(1, _MOST), help="How many images; by default all."),
]
Skip = Annotated[
    int,
    _option("--skip", metavar="N", **values.whole(0, _MOST), help="How many images to leave out before the first."),
]
ResultFolder = Annotated[
    Path | None,
    _option(
        "--out",
        "-o",
        metavar="DIR",
        parser=values.path,
        help="Where results go; by default evaluation/RUN-MODEL. What is there already is not measured again.",
    ),
]
Batch = Annotated[
    int,
    _option("--batch", metavar="N", **values.whole(1, _MOST), help="How many images are worked on at a time."),
]
Seeds = Annotated[
    str | None,
    _option(
        "--seeds",
        metavar="LIST",
        callback=checked_seeds,
        help="Seeds such as 0,1,2, in place of --seed: every image is measured with each of them, and the numbers are "
        "over all.",
    ),
]
ClipFolder = Annotated[
    Path | None,
    _option(
        "--clip",
        metavar="DIR",
        parser=values.path,
        help="For editing: a CLIP model on this machine, such as a download of openai/clip-vit-large-patch14, which "
        "tells how well edits fit their prompts. Without it that is n/a.",
    ),
]
DinoFolder = Annotated[
    Path | None,
    _option(
        "--dino",
        metavar="DIR",
        parser=values.path,
        help="For editing: a DINO vision transformer on this machine, such as a download of facebook/dino-vitb8, which "
        "tells how far edits are from their image's structure. Without it that is n/a.",
    ),
]
