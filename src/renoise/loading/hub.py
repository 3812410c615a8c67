"""Fetching from the model hub: it is asked whether it is there before anything waits for it, and what it says is told.

The hub's client has no time limit of its own: where a firewall swallows its questions it would wait for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renoise.errors import ModelError
from renoise.loading import catalogue
from renoise.loading.downloads import INDEX, missing_parts, snapshot_of

# What says how a pipeline is built, without its weights.
CONFIGURATION = ("*.json", "*.txt", "*.model")


class NotAtHand(ModelError):
    """Something on the hub that can be had neither from there nor from its cache.

    Attributes:
        reason: why, without what to do about it.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}{advice}")
        self.reason = reason


@dataclass(frozen=True)
class Answer:
    """What the hub says of a repository.

    Attributes:
        files: that it has.
        error: why there is no answer, or that there is no such repository for us; None if all is well.
    """

    files: tuple[str, ...] = ()
    error: Exception | None = None


def ask(name: str, options: Mapping[str, Any]) -> Answer:
    """Ask the hub for the files of a repository; it has HF_HUB_ETAG_TIMEOUT seconds (10) to answer.

    Args:
        name: its hub name.
        options: `revision`, `token` and `local_files_only` count.
    """
    from huggingface_hub import constants, model_info
    from huggingface_hub.errors import OfflineModeIsEnabled

    if options.get("local_files_only"):
        return Answer(error=OfflineModeIsEnabled("local_files_only=True was given"))
    try:
        info = model_info(
            name,
            revision=options.get("revision"),
            token=options.get("token"),
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
        )
    except Exception as error:  # the hub's client raises whatever it pleases: all of it means "no answer"
        return Answer(error=error)
    return Answer(tuple(sibling.rfilename for sibling in info.siblings or ()))


def pipeline_folder(name: str, options: Mapping[str, Any]) -> Path:
    """The folder of a pipeline on the hub, downloaded where it is not in the cache.

    Args:
        name: its hub name.
        options: as for diffusers' `from_pretrained`.

    Raises:
        NotAtHand: if it cannot be had.
        ModelError: if the catalogue knows that it is no pipeline.
    """
    from diffusers import DiffusionPipeline

    _refuse_parts(name)
    unreachable = ask(name, options).error
    try:
        wanted = {**options, **({} if unreachable is None else {"local_files_only": True})}
        return Path(DiffusionPipeline.download(name, **wanted))
    except Exception as error:  # diffusers adds errors of its own
        folder = snapshot_of(name, options)
        if folder is not None and "variant" not in options and not missing_parts(folder, "fp16", options):
            return folder  # what was downloaded as a variant, which was not looked for
        missing = () if folder is None else missing_parts(folder, options.get("variant"), options)
        raise _why("model", name, unreachable or error, missing) from error


def snapshot(
    noun: str, name: str, patterns: Collection[str], options: Mapping[str, Any], unreachable: Exception | None
) -> Path:
    """The folder of a repository with those of its files that fit one of the patterns.

    Args:
        noun: what is looked for, such as "model".
        name: its hub name.
        patterns: of file names, with asterisks.
        options: `cache_dir` and `token` count.
        unreachable: why the hub gave no answer (`ask`), so that the cache alone is looked into.

    Raises:
        NotAtHand: if it cannot be had.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name,
            allow_patterns=list(patterns),
            cache_dir=options.get("cache_dir"),
            token=options.get("token"),
            local_files_only=unreachable is not None,
        )
    except Exception as error:
        raise _why(noun, name, unreachable or error) from error
    return Path(folder)


def _refuse_parts(name: str) -> None:
    """Adapters and lone networks of the catalogue are no models of their own."""
    entry = catalogue.find(name)
    if entry is not None and entry.kind == "adapter":
        sampler = "" if entry.sampler is None else f" --sampler {entry.sampler}"
        raise ModelError(
            f"{name} is an adapter, no model of its own: load its base model and give it with --lora, as in "
            f"--model {entry.base} --lora {name}{sampler} (in Python lora=... and sampler=...)"
        )
    if entry is not None and entry.kind == "network":
        raise ModelError(
            f"{name} is a network alone, no whole pipeline: in Python, load it with diffusers and give it as unet=... "
            f"to Editor.from_pretrained({entry.base!r}, ...); renoise models {name} shows the lines"
        )


def _why(noun: str, name: str, error: Exception, missing: Collection[str] = ()) -> NotAtHand:
    """What the hub said, what the cache holds, and what to do."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{name}"
    login = "log in with: hf auth login"
    if isinstance(error, errors.GatedRepoError):
        return NotAtHand(f"{noun} {name!r} is gated", f": accept its licence on {page}, then {login}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return NotAtHand(
            f"the model hub has no {noun} {name!r}, or it is private",
            f": check the name (see renoise models), or {login}",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return NotAtHand(f"{noun} {name!r} has no such revision on the model hub", f"; its revisions are on {page}")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return NotAtHand(
            f"{name!r} on the model hub has no {INDEX}: it is not a diffusers pipeline",
            ". LoRA weights are given with --lora and a base model, a single file is downloaded and given as such",
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return NotAtHand(f"the model hub refuses {noun} {name!r} ({status})", f": see {page}, and {login}")
    held = f"its cache holds only a part of it, without {', '.join(missing)}" if missing else "it is not in the cache"
    offline = f". Offline, get it elsewhere with: hf download {name} --local-dir DIR, and give DIR"
    offline += "; or use the bundled model: mini" if noun == "model" else ""
    if isinstance(error, errors.OfflineModeIsEnabled):
        told = "local_files_only=True" if "local_files_only" in str(error) else "HF_HUB_OFFLINE is set"
        return NotAtHand(f"the model hub was not asked for {noun} {name!r} ({told}), and {held}", offline)
    if status is not None:
        return NotAtHand(f"the model hub answers {status} for {noun} {name!r}, and {held}", "; try again later")
    if _is_of_the_network(error):
        return NotAtHand(f"the model hub cannot be reached for {noun} {name!r}, and {held}", offline)
    return NotAtHand(f"{noun} {name!r} cannot be had from the model hub or its cache: {shortened(error)}", offline)


def _is_of_the_network(error: Exception) -> bool:
    from huggingface_hub.errors import LocalEntryNotFoundError

    # The client's own errors are those of its http library, which has changed its name before.
    return isinstance(error, (ConnectionError, TimeoutError, LocalEntryNotFoundError)) or any(
        cls.__name__ == "TransportError" for cls in type(error).__mro__
    )


def shortened(error: BaseException) -> str:
    """What an error says, on one line of a bearable length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}..."
