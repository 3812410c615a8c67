"""What the page says in words: errors, progress, and how good a result is."""

from __future__ import annotations

import math

from renoise.errors import Argument, RenoiseError, Told
from renoise.escaping import shown
from renoise.failing import is_out_of_memory
from renoise.quality import Quality
from renoise.web.happenings import Ended, Inverted, Pass, Waiting

# What the library's arguments are called on the page.
_LABELS = {
    "image": "the image",
    "prompt": "the source prompt",
    "targets": "the target prompts",
    "negative_prompt": "the negative prompt",
    "num_steps": "the number of steps",
    "iterations": "the number of renoising iterations",
    "guidance_scale": "the guidance scale",
    "strength": "the strength of the edit",
    "keep": "what to keep",
    "mask": "the mask",
    "preset": "the preset",
    "fit": "the way to fit the image",
    "seed": "the seed",
}
# Commands that have an option for an argument that the page lacks.
_OPTIONS = {
    "edit_data": ("--edit-data", "renoise invert"),
    "dtype": ("--dtype", "renoise web"),
    "device": ("--device", "renoise web"),
    "model": ("--model", "renoise web"),
    "force": ("--force", "renoise edit"),
    "true_cfg_scale": ("--true-cfg", "renoise edit"),
}


def as_label(argument: Argument) -> str:
    """Return an argument of the library as the page calls it, or as Python has it where the page has none.

    Examples:
        >>> as_label(Argument("num_steps", 50)), as_label(Argument("dtype", "float32")), as_label(Argument("eta", 0.5))
        ('the number of steps 50', 'the option --dtype float32 of renoise web', 'eta=0.5')
        >>> as_label(Argument("force", True))
        'the option --force of renoise edit'
    """
    value = "" if argument.value is None or argument.value is True else f" {argument.shown}"
    if argument.name in _OPTIONS:
        option, command = _OPTIONS[argument.name]
        return f"the option {option}{value} of {command}"
    label = _LABELS.get(argument.name)
    return str(argument) if label is None else f"{label}{value}"


def told(message: Told) -> str:
    """Return an error or a warning of the library as a sentence for the page."""
    text = message.told(as_label)
    first, _, _ = text.partition(" ")
    # A file's name stays as it is.
    return f"{text[:1].upper()}{text[1:]}." if first.isalpha() else f"{text}."


def failure(error: BaseException) -> str:
    """Return what went wrong as a sentence for the page, without what is none of a client's business.

    Examples:
        >>> failure(KeyError("secret"))
        'Something went wrong that should not (KeyError). Whoever runs the page finds more in its terminal.'
    """
    if isinstance(error, RenoiseError):
        return told(error)
    if is_out_of_memory(error):
        return "The memory is not enough for this. Take a smaller image or another way to fit it, or fewer steps."
    return (
        f"Something went wrong that should not ({type(error).__name__}). Whoever runs the page finds more in its "
        "terminal."
    )


def doing(happening: Pass | Waiting) -> str:
    """Return what is being done in a few words, which do not change with every network pass.

    Examples:
        >>> doing(Pass("editing 1/2", 3, 4, 249.0, 2, 4))
        'Editing 1/2 ...'
    """
    work = "waiting" if isinstance(happening, Waiting) else happening.work
    return f"{work[:1].upper()}{work[1:]} ..."


def progress(happening: Pass | Waiting) -> str:
    """Return how far the work is, in one line.

    Examples:
        >>> progress(Pass("editing 1/2", 3, 4, 249.0, 2, 4))
        'Editing 1/2: network pass 3 of at most 4, timestep 249 (step 3 of 4)'
    """
    if isinstance(happening, Waiting):
        before = happening.before
        return f"Waiting: {before} {'request comes' if before == 1 else 'requests come'} first"
    work = f"{happening.work[:1].upper()}{happening.work[1:]}"
    return (
        f"{work}: network pass {happening.done} of at most {happening.total}, timestep {happening.timestep:g} "
        f"(step {min(happening.step + 1, happening.num_steps)} of {happening.num_steps})"
    )


def quality(inverted: Inverted) -> str:
    """Return how good an inversion is, in plain sentences."""
    told = [_passes(inverted), _reconstruction(inverted), _converged(inverted)]
    return " ".join(sentence for sentence in told if sentence)


def cost(ended: Ended, edits: int) -> str:
    """Return what a request took.

    Examples:
        >>> cost(Ended(False, 2.5, 12), 2), cost(Ended(True, 0.5, 3), 0)
        ('2 edits. 12 network passes and 2.5 s in all.', 'Stopped. 3 network passes and 0.5 s in all.')
    """
    done = [] if not edits else [f"{edits} {'edit' if edits == 1 else 'edits'}."]
    done += ["Stopped."] if ended.stopped else []
    passes = "1 network pass" if ended.passes == 1 else f"{ended.passes} network passes"
    return " ".join([*done, f"{passes} and {ended.seconds:.1f} s in all."])


def decibels(value: float) -> str:
    """Return a PSNR to read.

    Examples:
        >>> decibels(26.123), decibels(float("inf"))
        ('26.1 dB', 'infinite')
    """
    return f"{value:.1f} dB" if math.isfinite(value) else "infinite"


def header(model: str, device: str, precision: str, size: tuple[int, int]) -> list[str]:
    """Return what the page says of its model: name, device, precision and image size (height, width)."""
    return [f"model {shown(model, 80)}", f"device {device}", f"precision {precision}", f"images {size[1]} x {size[0]}"]


def _passes(inverted: Inverted) -> str:
    if inverted.before:
        return "Inverted before: 0 passes."
    seconds = inverted.known.seconds
    return f"Inverted in {inverted.passes} network passes and {seconds:.1f} s."


def _reconstruction(inverted: Inverted) -> str:
    found: Quality | None = inverted.known.quality
    if found is None:
        return ""
    if inverted.inversion.config.walking.direct:
        return (
            "Edits start from the image itself, as the autoencoder draws it: PSNR "
            f"{decibels(found.image)} against the image, and no difference from the round trip."
        )
    text = f"The reconstruction from the noise alone has PSNR {decibels(found.image)} against the image"
    if found.round_trip is None or found.bound is None:
        return f"{text}."
    return (
        f"{text} and {decibels(found.round_trip)} against the autoencoder's round trip, which itself has "
        f"{decibels(found.bound)}."
    )


def _converged(inverted: Inverted) -> str:
    inversion = inverted.inversion
    worst = float(inversion.residuals.max())
    if inversion.config.walking.direct:
        return "Each step takes one pass, so that nothing has to converge."
    if bool(inversion.converged.all()):
        return f"All steps converged (largest residual {worst:.2g})."
    return f"Not all steps converged (largest residual {worst:.2g}): take more steps or another preset."
