"""What went wrong, as one line that says what to do, and the exit code that goes with it."""

from __future__ import annotations

import sys

from renoise.errors import RenoiseError

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

# The library's messages speak of its arguments; here they are options.
_OPTIONS = {
    "load that model, or pass force=True": "name that model with --model, or use --force",
    "num_steps=": "--steps ",
    "num_steps": "--steps",
    "true_cfg_scale=": "--true-cfg ",
    "true_cfg_scale": "--true-cfg",
    "use guidance_scale": "use --guidance",
    "guidance_scale": "guidance",
    'fit="crop"': "--fit crop",
    'fit="pad", "crop" or "stretch"': "--fit pad, crop or stretch",
    "or keep its autoencoder in float32: pipe.vae.to(torch.float32)": "or use a model whose autoencoder bears float16",
    "strength=": "--strength ",
    "with dtype float32 or bfloat16": "with --dtype float32 or --dtype bfloat16",
}


class UsageError(Exception):
    """Options that are missing, superfluous, or do not fit each other."""


def explain(error: BaseException) -> tuple[str, int]:
    """One line for the user and the exit code, for anything that may be raised."""
    message, code = _message(error)
    return " ".join(message.split()), code


def _message(error: BaseException) -> tuple[str, int]:
    if isinstance(error, UsageError):
        return str(error), WRONG_USAGE
    if isinstance(error, RenoiseError):
        return _in_options(str(error)), FAILED
    if _is_out_of_memory(error):
        return (
            "out of memory; use --dtype float16 on a GPU, a smaller --model, or --device cpu, and close other programs "
            "that hold memory"
        ), FAILED
    # The parser's errors are known by what they can do: typer took them from click once and now has its own.
    format_message = getattr(error, "format_message", None)
    if callable(format_message):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "renoise"
        return f"{str(format_message()).rstrip('.')}; see {command} --help", int(getattr(error, "exit_code", 2))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}", FAILED
    return f"unexpected {type(error).__name__}: {error} (use --debug for the traceback)", FAILED


def _in_options(message: str) -> str:
    for argument, option in _OPTIONS.items():
        message = message.replace(argument, option)
    return message


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    # On a CPU and on Apple's GPUs it is a plain RuntimeError.
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("can't allocate memory", "not enough memory", "out of memory")
    )
