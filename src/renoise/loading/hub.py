"""Fetching from the model hub, which is asked first, so that nothing waits for a hub that does not answer.

The hub's client has no time limit: if a firewall drops its requests, it waits for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renoise.environment import require_hub
from renoise.errors import Argument, ModelError, Parts
from renoise.loading import catalogue
from renoise.loading.downloads import require_sound, snapshot_of
from renoise.loading.folders import INDEX, missing_parts

# The files that say how a pipeline is built, without its weights.
CONFIGURATION = ("*.json", "*.txt", "*.model", "*.jinja")


class NotAtHand(ModelError):
    """Something that can be had neither from the hub nor from its cache."""


@dataclass(frozen=True)
class Answer:
    """The hub's answer about a repository.

    Attributes:
        files: the names of the repository's files.
        error: why there is no answer, or no such repository for this user; None if all is well.
    """

    files: tuple[str, ...] = ()
    error: Exception | None = None


def ask(name: str, options: Mapping[str, Any]) -> Answer:
    """Ask the hub for the files of a repository; it has HF_HUB_ETAG_TIMEOUT seconds (10) to answer.

    Args:
        name: the repository's hub name.
        options: the options of the download, of which `revision`, `token` and `local_files_only` count.

    Raises:
        ConfigError: if a variable that says where the hub or its cache is makes no sense.
    """
    require_hub()
    from huggingface_hub import constants, model_info
    from huggingface_hub.errors import OfflineModeIsEnabled

    if options.get("local_files_only"):
        return Answer(error=OfflineModeIsEnabled())
    try:
        info = model_info(
            name,
            revision=options.get("revision"),
            token=options.get("token"),
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
        )
    except Exception as error:  # the hub's client raises many sorts of errors: each of them means "no answer"
        return Answer(error=error)
    return Answer(tuple(sibling.rfilename for sibling in info.siblings or ()))


def pipeline_folder(name: str, options: Mapping[str, Any]) -> Path:
    """Return the folder of a pipeline on the hub, and download it if it is not in the cache.

    Args:
        name: the pipeline's hub name.
        options: the options of diffusers' `from_pretrained`.

    Raises:
        NotAtHand: if it cannot be had.
        ModelError: if the catalogue knows that it is no pipeline, or the cache's copy is damaged.
    """
    from diffusers import DiffusionPipeline

    _refuse_parts(name)
    require_hub()
    require_sound(name, options)
    unreachable = ask(name, options).error
    try:
        wanted = {**options, **({} if unreachable is None else {"local_files_only": True})}
        return Path(DiffusionPipeline.download(name, **wanted))
    except Exception as error:  # diffusers adds its own errors to those of the hub's client
        folder = snapshot_of(name, options)
        if folder is not None and "variant" not in options and not missing_parts(folder, "fp16", options):
            return folder  # a variant was downloaded, which was not looked for
        missing = () if folder is None else missing_parts(folder, options.get("variant"), options)
        raise _not_at_hand("model", name, unreachable or error, options, missing) from error


def snapshot(
    noun: str, name: str, patterns: Collection[str], options: Mapping[str, Any], unreachable: Exception | None
) -> Path:
    """Return the folder of a repository with those of its files that fit one of the patterns.

    Args:
        noun: what is looked for, such as "model".
        name: the repository's hub name.
        patterns: patterns of file names, with asterisks.
        options: the options of the download, of which `cache_dir` and `token` count.
        unreachable: why the hub gave no answer (`ask`), so that only the cache is looked into; None if it answered.

    Raises:
        NotAtHand: if it cannot be had.
        ModelError: if the cache's copy is damaged.
    """
    from huggingface_hub import snapshot_download

    require_sound(name, options)
    try:
        folder = snapshot_download(
            name,
            allow_patterns=list(patterns),
            cache_dir=options.get("cache_dir"),
            token=options.get("token"),
            local_files_only=unreachable is not None,
        )
    except Exception as error:
        raise _not_at_hand(noun, name, unreachable or error, options) from error
    return Path(folder)


def _refuse_parts(name: str) -> None:
    """Refuse the adapters and lone networks of the catalogue, which are no whole pipelines."""
    entry = catalogue.find(name)
    if entry is None or entry.holds == "pipeline":
        return
    if entry.holds == "adapter":
        sampler = () if entry.sampler is None else (" and ", Argument("sampler", entry.sampler))
        raise ModelError(
            f"{name} is an adapter, not a whole model",
            remedy=(
                "load its base model with it: ",
                Argument("model", entry.base),
                " with ",
                Argument("lora", name),
                *sampler,
            ),
        )
    raise ModelError(
        f"{name} is a network alone, not a whole pipeline",
        remedy="load it with diffusers in Python and give it as unet=... to "
        f"Editor.from_pretrained({entry.base!r}, ...)",
    )


def _not_at_hand(
    noun: str, name: str, error: Exception, options: Mapping[str, Any], missing: Collection[str] = ()
) -> NotAtHand:
    """Return the error that says what the hub answered, what the cache holds, and what to do."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{name}"
    login = "log in with: hf auth login"
    status = getattr(getattr(error, "response", None), "status_code", None)
    problem: str
    remedy: Parts
    match error:
        case errors.GatedRepoError():
            problem, remedy = f"{noun} {name!r} is gated", f"accept its licence on {page}, then {login}"
        case errors.RepositoryNotFoundError():
            problem = f"the model hub has no {noun} {name!r}, or it is private"
            remedy = f"check the name, or {login}"
        case errors.RevisionNotFoundError():
            problem, remedy = f"{noun} {name!r} has no such revision on the model hub", f"its revisions are on {page}"
        case errors.EntryNotFoundError() if not isinstance(error, errors.LocalEntryNotFoundError):
            problem = f"{name!r} on the model hub has no {INDEX}, so that it is not a diffusers pipeline"
            remedy = (
                "if it holds LoRA weights, give its base model and ",
                Argument("lora", name),
                "; download a single file and give its path",
            )
        case _ if status in (401, 403):
            problem, remedy = f"the model hub refuses {noun} {name!r} ({status})", f"see {page}, and {login}"
        case _:
            problem, remedy = _without_answer(f"{noun} {name!r}", error, status, options, missing)
            if not remedy:
                remedy = f"offline, get it elsewhere with: hf download {name} --local-dir DIR, and give DIR"
                remedy += "; or use the bundled model: mini" if noun == "model" else ""
    return NotAtHand(problem, remedy=remedy)


def _without_answer(
    what: str, error: Exception, status: int | None, options: Mapping[str, Any], missing: Collection[str]
) -> tuple[str, str]:
    """Return the problem where the hub says nothing about a repository, and the remedy if it is not a download."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    held = f"its cache holds only a part of it, without {', '.join(missing)}" if missing else "it is not in the cache"
    if isinstance(error, OfflineModeIsEnabled):
        cause = "local_files_only=True" if options.get("local_files_only") else "HF_HUB_OFFLINE is set"
        return f"the model hub was not asked for {what} ({cause}), and {held}", ""
    if status is not None:
        return f"the model hub answers {status} for {what}, and {held}", "try again later"
    if _is_of_the_network(error):
        return f"the model hub cannot be reached for {what}, and {held}", ""
    return f"{what} cannot be had from the model hub or its cache: {shortened(error)}", ""


def _is_of_the_network(error: Exception) -> bool:
    from huggingface_hub.errors import LocalEntryNotFoundError

    # The client's own errors are those of its http library, which has changed its name before.
    return isinstance(error, (ConnectionError, TimeoutError, LocalEntryNotFoundError)) or any(
        cls.__name__ == "TransportError" for cls in type(error).__mro__
    )


def shortened(error: BaseException) -> str:
    """Return an error's message on one line of at most 203 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}..."
