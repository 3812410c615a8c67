"""What went wrong, as one line that says what to do, and the exit code that goes with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from renoise.errors import Argument, RenoiseError
from renoise.escaping import shown
from renoise.failing import is_out_of_memory

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

# What the library's arguments are called here, by the first of their options that the command has. An argument that is
# one of several of its name begins with whose it is.
_OPTIONS = {
    "prompt": ("--prompt",),
    "negative_prompt": ("--negative-prompt",),
    "num_steps": ("--steps",),
    "iterations": ("--renoise",),
    "schedule.strength": ("--depth",),
    "strength": ("--strength",),
    "keep": ("--keep",),
    "mask": ("--mask",),
    "return_masks": ("--save-mask",),
    "edit_data": ("--edit-data",),
    "timesteps": ("--timesteps",),
    "sigmas": ("--sigmas",),
    "clip_skip": ("--clip-skip",),
    "guidance_rescale": ("--guidance-rescale",),
    "guidance_scale": ("--guidance", "--inversion-guidance"),
    "true_cfg_scale": ("--true-cfg",),
    "seed": ("--seed",),
    "preset": ("--preset",),
    "edit_losses": ("--edit-losses",),
    "noise_correction": ("--noise-correction",),
    "fit": ("--fit",),
    "model": ("--model",),
    "lora": ("--lora",),
    "sampler": ("--sampler",),
    "spacing": ("--spacing",),
    "device": ("--device",),
    "compile": ("--compile",),
    "dtype": ("--dtype",),
    "force": ("--force",),
    "to": ("--to",),
    "targets_column": ("--targets-column",),
    "image_column": ("--image-column",),
    "caption_column": ("--caption-column",),
    "id_column": ("--id-column",),
    "max_failures": ("--max-failures",),
    "engine": ("--engine",),
    "workers": ("--workers",),
    "gpus_per_worker": ("--gpus-per-worker",),
    "address": ("--address",),
}
# Options that one command has and others advise.
_ELSEWHERE = {"edit_data": "renoise invert --edit-data"}
# The options of the command that runs; None before there is one.
_OFFERED: ContextVar[frozenset[str] | None] = ContextVar("_OFFERED", default=None)


class UsageError(Exception):
    """Options that are missing, superfluous, or do not fit each other."""


def explain(error: BaseException) -> tuple[str, int]:
    """Return one line for the user and the exit code, for anything that may be raised.

    Control characters in it are escaped, and names of thousands of characters are cut.
    """
    message, code = _message(error)
    return " ".join(message.split()), code


@contextmanager
def no_command_yet() -> Iterator[None]:
    """Know of no command's options until `offer` names them, and forget them afterwards."""
    before = _OFFERED.set(None)
    try:
        yield
    finally:
        _OFFERED.reset(before)


def offer(options: Iterable[str]) -> None:
    """Take note of the options that the command has, so that no others are advised from here on."""
    _OFFERED.set(frozenset(options))


def as_option(argument: Argument) -> str:
    """Return an argument of the library as an option, or as Python has it where the command has no such option.

    Examples:
        >>> as_option(Argument("num_steps", 50)), as_option(Argument("force", True)), as_option(Argument("eta", 0.5))
        ('--steps 50', '--force', 'eta=0.5')
    """
    offered = _OFFERED.get()
    known = _OPTIONS.get(f"{argument.of}.{argument.name}" if argument.of else argument.name, ())
    option = next((o for o in known if offered is None or o in offered), None) or _ELSEWHERE.get(argument.name)
    if option is None:
        return str(argument)
    if argument.value is None or argument.value is True:
        return option
    # To be copied to a shell: a name may have blanks.
    return f"{option} {shlex.quote(argument.shown)}"


def _message(error: BaseException) -> tuple[str, int]:
    if isinstance(error, UsageError):
        return shown(error), WRONG_USAGE
    if isinstance(error, RenoiseError):
        return error.told(as_option), FAILED
    if is_out_of_memory(error):
        return (
            "out of memory; use --dtype float16 on a GPU, a smaller --model, or --device cpu, and close other programs "
            "that hold memory"
        ), FAILED
    # The parser's errors are known by what they can do: typer took them from click once and now has its own.
    format_message = getattr(error, "format_message", None)
    if callable(format_message):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "renoise"
        return f"{shown(format_message()).rstrip('.')}; see {command} --help", int(getattr(error, "exit_code", 2))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {shown(error.filename)}' if error.filename else ''}", FAILED
    return f"unexpected {type(error).__name__}: {_text(error)} (use --debug for the traceback)", FAILED


def _text(error: BaseException) -> str:
    """Return what an error of a library says, in one line; its lines were made to be read one after the other."""
    try:
        text = str(error)
    except Exception:  # an error that cannot be told must not hide that there was one
        return "without words"
    return shown(" ".join(text.split()))
