"""The options that say what an edit changes, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from renoise.cli import values
from renoise.cli.lists import checked_shares, shares_in
from renoise.cli.panels import GUIDANCE_RESCALE, NEGATIVE_PROMPT, changing

# `renoise.edit_rules.KEEP`: what an edit can keep without a mask.
KeepName = Literal["auto", "nothing"]


@dataclass(frozen=True)
class Change:
    """What an edit shall show, and how strongly."""

    to: Annotated[
        list[str] | None,
        changing(
            "--to",
            "-t",
            metavar="TEXT",
            parser=values.readable,
            help="What the edited image shall show. Give it again for more edits.",
        ),
    ] = None
    strength: Annotated[
        float | None,
        changing(
            "--strength",
            metavar="S",
            **values.decimal(0.0, 1.0),
            help="How much the edit changes: 0 is the image as it was, 1 what --to would have; 0.7 is the default.",
        ),
    ] = None
    strengths: Annotated[
        str | None,
        changing(
            "--strengths",
            metavar="LIST",
            callback=checked_shares,
            help="Several strengths at once, such as 0,0.25,0.5,0.75,1, in place of --strength: an edit for each.",
        ),
    ] = None
    keep: Annotated[
        KeepName | None,
        changing(
            "--keep",
            metavar="WHAT",
            help="What the edit keeps without being told: auto (the default), what has survived of the image, or "
            "nothing.",
        ),
    ] = None
    mask: Annotated[
        Path | None,
        changing(
            "--mask",
            metavar="FILE",
            parser=values.path,
            help="An image of where the edit may change: white changes, black keeps its pixels, every one of them. In "
            "the proportions of the image, in any size.",
        ),
    ] = None
    guidance: Annotated[
        float | None,
        changing(
            "--guidance",
            "-g",
            metavar="G",
            **values.decimal(0.0),
            help="Guidance scale of the edit: more changes more and keeps less, 1 is none (0 for Z-Image and Krea 2). "
            "By default none, or 1.5 for "
            "models of many steps with a preset other than edit, 3.5 for Flux dev, and what a guided inversion used.",
        ),
    ] = None
    true_cfg: Annotated[
        float | None,
        changing(
            "--true-cfg",
            metavar="G",
            **values.decimal(0.0),
            help="Classifier-free guidance of the edit for models that take it beside or in place of --guidance "
            "(Flux, Qwen-Image): above 1 "
            "every step costs two network passes, and negative prompts count.",
        ),
    ] = None
    negative_prompt: Annotated[str | None, changing("--negative-prompt", **NEGATIVE_PROMPT)] = None
    guidance_rescale: Annotated[float | None, changing("--guidance-rescale", **GUIDANCE_RESCALE)] = None
    negative_source: Annotated[
        bool,
        changing(
            "--negative-source",
            help="Take what the image shows as the negative prompt; wants --guidance (for Flux and Qwen-Image "
            "--true-cfg) above 1.",
        ),
    ] = False

    @property
    def shares(self) -> tuple[float | None, ...]:
        """The strengths of the edits of each target; None is the library's default."""
        return shares_in(self.strengths) or (self.strength,)

    @property
    def wants_source(self) -> bool:
        """Whether anything was given that an edit can only do where the inversion was kept for it."""
        return any(value is not None for value in (self.strength, self.strengths, self.keep, self.mask))
