"""Finding a pipeline by name and loading it: a bundled model, a directory, a single file or a hub repository."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from renoise.backbones import PipelineBackbone, family_of
from renoise.config import VARIANTS
from renoise.errors import ConfigError, ModelError, RenoiseError
from renoise.escaping import seen, shown
from renoise.loading import catalogue, checkpoints, hub, networks
from renoise.loading import lora as adapters
from renoise.loading.configurations import require_sensible
from renoise.loading.contents import recognise, require_readable
from renoise.loading.few_steps import Asked, names_of_model, settle
from renoise.loading.folders import INDEX, absent_parts, family_in, missing_parts, weight_files
from renoise.loading.lora_names import asked
from renoise.loading.parts import classes_in, refuse_code
from renoise.loading.places import place_of
from renoise.loading.remarks import checked
from renoise.loading.sampling import follow, remark_on_few_steps, require_spacing, spaced
from renoise.loading.training import training_of
from renoise.named_presets import named, require_family
from renoise.ranges import truth
from renoise.schedulers import SUPPORTED, exchanged, is_flow, kind_of, sampler_class, suiting
from renoise.schedulers.names import Kind

log = logging.getLogger("renoise")

# Each bundled model, with the model that it is an adapter for or None.
BUNDLED: Mapping[str, str | None] = {entry.name: entry.base for entry in catalogue.MODELS if entry.bundled}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device that is asked for, or the best one of this machine.

    Raises:
        ConfigError: if it is unknown or not on this machine.

    Examples:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if device is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        resolved = torch.device(device)
        # A number is asked back, because the device "meta" has tensors without numbers.
        torch.zeros((), device=resolved).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        problem = f"device {seen(device)} is not available on this machine"
        raise ConfigError(problem, argument="device", remedy="use cpu, cuda or mps") from error
    return resolved


def resolve_dtype(
    dtype: str | torch.dtype | None, device: torch.device, family: type[PipelineBackbone] | None = None
) -> torch.dtype:
    """Return the floating-point type that is asked for; by default float32 on a CPU and the family's on a GPU.

    Args:
        dtype: the type or its name; None means the default.
        device: the device of the networks.
        family: the model's family; None means that it is not known, which takes float16.

    Raises:
        ConfigError: if it is not one of float32, float16 and bfloat16.

    Examples:
        >>> resolve_dtype("bfloat16", torch.device("cpu"))
        torch.bfloat16
    """
    if dtype is None:
        if device.type == "cpu":
            return torch.float32
        return DTYPES[(PipelineBackbone if family is None else family).precision]
    resolved = DTYPES.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    if not isinstance(resolved, torch.dtype) or resolved not in DTYPES.values():
        raise ConfigError(f"dtype {seen(dtype)} is unknown", argument="dtype", remedy=f"use one of {', '.join(DTYPES)}")
    return resolved


def load_pipeline(
    name: str | os.PathLike[str],
    device: torch.device,
    dtype: str | torch.dtype | None = None,
    *,
    lora: Any = None,
    sampler: str | None = None,
    spacing: str | None = None,
    preset: str | None = None,
    torch_dtype: str | torch.dtype | None = None,
    compile: bool = False,
    **options: Any,
) -> Any:
    """Load a diffusers pipeline by name, with a scheduler that can be inverted.

    Args:
        name: a bundled model, a pipeline's directory, a .safetensors checkpoint, or a hub name.
        device: the device of the networks.
        dtype: the floating-point type of the networks (see `resolve_dtype`).
        lora: LoRA weights: a folder, a .safetensors file, a bundled adapter or a hub name, alone or in a pair with the
            strength, such as ("name", 0.7), or a list of them. "name:0.7" is the same as the pair. A folder that holds
            scheduler/scheduler_config.json brings its scheduler.
        sampler: a sampler other than the model's own, on its noise levels: a class of `renoise.schedulers.SUPPORTED`
            or one of the short names in `renoise.schedulers.SAMPLERS`. It takes precedence over the scheduler of a
            LoRA.
        spacing: how the timesteps of a schedule are spaced, one of `renoise.loading.sampling.SPACINGS`; None leaves it
            to the model. It takes precedence over the scheduler of a LoRA and over what a single file says.
        preset: the model of a few steps that it is, one of `renoise.named_presets.NAMED`, for files that do not tell.
            It is sampled as that preset has it, where neither `sampler` nor `spacing` says otherwise. None takes what a
            LoRA's title or file name tells, or the list of models knows, and says so.
        torch_dtype: the name that diffusers had for `dtype`.
        compile: compile the denoising network with `torch.compile`, in place, so that its weights keep their names. The
            compiler works at the first network pass, and again for sizes and batches that it has not met.
        options: the options of diffusers' `from_pretrained` or `from_single_file` (`config` names the folder that says
            how a single file is put together).

    Raises:
        ModelError: if the model or its LoRA cannot be found or loaded, or they do not fit each other.
        SchedulerError: if the sampler is unknown, or does not suit the model, or a spacing has no effect on it.
        ConfigError: if `lora` is no name, or the dtype, the spacing or the preset is unknown, or the preset is for
            models of another family, or the dtype is given twice, or `compile` is neither True nor False.
    """
    if torch_dtype is not None:
        if dtype is not None:
            problem = "dtype and its older name torch_dtype are both given"
            raise ConfigError(problem, argument="dtype", remedy="give one of them")
        dtype = torch_dtype
    if not isinstance(name, (str, os.PathLike)):
        raise ModelError(f"a model is named by a string or a path, not {type(name).__name__}", argument="model")
    # What can be refused without the model is refused before the model is loaded.
    resolve_dtype(dtype, device)
    refuse_code(options)
    compile = truth(compile, "compile")
    require_spacing(spacing)
    scheduler = None if sampler is None else sampler_class(sampler)
    asked_for = Asked(named(preset, VARIANTS), scheduler, spacing, options.get("scheduler") is not None)
    base = BUNDLED.get(os.fspath(name))
    source = _locate(base or os.fspath(name))
    loras = _loras(lora, None if base is None else os.fspath(name), options)
    training, metadata = None, dict[str, str]()
    try:
        if isinstance(source, Path) and source.is_file():
            contents = recognise(source)
            training, metadata = training_of(source, contents.shapes, contents.metadata), dict(contents.metadata)
            family = None if contents.layout is None else contents.layout.family
            _require_family(asked_for, family, source)
            pipe = checkpoints.load(source, contents, training, resolve_dtype(dtype, device, family), options)
            follow(pipe, training, source, options)
        else:
            folder = source if isinstance(source, Path) else hub.pipeline_folder(source, options)
            family = family_in(folder)
            _require_family(asked_for, family, name)
            pipe = _from_folder(folder, os.fspath(name), resolve_dtype(dtype, device, family), options)
        _adapt(pipe, loras, scheduler, own=scheduler is None and asked_for.preset is None)
    except RenoiseError:
        raise
    except Exception as error:  # diffusers and its hub client raise many sorts of errors: each means "not loaded"
        raise ModelError(f"model {str(name)!r} cannot be loaded: {hub.shortened(error)}", argument="model") from error
    if device.type == "cpu" and hasattr(pipe, "unet") and hasattr(pipe, "vae") and pipe.unet.dtype == torch.float32:
        # Convolutions on a CPU are markedly faster with the channels last. The user's own pipelines are never changed.
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    pipe.set_progress_bar_config(disable=True)
    _make_invertible(pipe)
    file = source if isinstance(source, Path) and training is not None else None
    settled = settle(pipe, asked_for, loras, names_of_model(os.fspath(name), file, metadata), training)
    if spacing is not None:
        pipe.scheduler = spaced(pipe.scheduler, spacing)
    elif training is not None and file is not None and not settled:
        remark_on_few_steps(pipe, training, file)
    pipe = pipe.to(device)
    family = family_of(pipe)
    if compile and family is not None:
        family(pipe).network.compile()
    return pipe


def _bundled(name: str) -> Path:
    try:
        import renoise_mini
    except ImportError as error:
        problem = f"the bundled model {name!r} is not installed"
        raise ModelError(problem, argument="model", remedy="run: pip install 'renoise[mini]'") from error
    try:
        return Path(renoise_mini.path(name))
    except ValueError as error:
        raise ModelError(
            f"the installed renoise-mini {getattr(renoise_mini, '__version__', '')} has no model {name!r}",
            argument="model",
            remedy="update it: pip install --upgrade 'renoise[mini]'",
        ) from error


def _locate(name: str) -> Path | str:
    """Return the folder or file of a model, or its hub name."""
    if name in BUNDLED:
        return _bundled(name)
    # The catalogue may know a model that is called so, apart from its owner.
    parts = {entry.name.rpartition("/")[2].lower(): entry.name for entry in catalogue.MODELS}
    full = parts.get(name.lower())
    remedy = () if full is None else f"did you mean {full}?"
    path = place_of("model", name, neither=f"bundled ({', '.join(BUNDLED)}) nor ", remedy=remedy)
    if path is None:
        return name
    if path.is_file():
        require_readable(path)
    elif not (path / INDEX).is_file():
        raise ModelError(f"{name} has no {INDEX}: it is not a diffusers pipeline directory", argument="model")
    return path


def _loras(wanted: Any, bundled: str | None, options: Mapping[str, Any]) -> tuple[adapters.Lora, ...]:
    """Find the LoRA weights that are asked for, those of a bundled adapter first."""
    named = [*([] if bundled is None else [(bundled, 1.0)]), *asked(wanted)]
    return adapters.find(
        [(str(_bundled(name)) if BUNDLED.get(name) else name, strength) for name, strength in named], options
    )


def _from_folder(folder: Path, name: str, dtype: torch.dtype, options: Mapping[str, Any]) -> Any:
    """Load the pipeline in a folder, if it is whole and sound.

    diffusers does not check that: a tokenizer without its files, for example, loads all the same and knows no words.
    """
    from diffusers import DiffusionPipeline

    given = {**dict.fromkeys(absent_parts(folder)), **options}
    classes = {part: cls for part, cls in classes_in(folder, options).items() if part not in given}
    missing = missing_parts(folder, given.get("variant"), given)
    if missing and "variant" not in given and not missing_parts(folder, "fp16", given):
        log.info("%s has its weights as the variant fp16; loading that", name)
        given["variant"] = "fp16"
    elif missing:
        problem = f"model {name!r} is not whole: {folder} lacks {', '.join(missing)}"
        raise ModelError(problem, argument="model", remedy="download it again")
    require_sensible(folder, classes)
    given |= _networks(folder, classes, dtype, given)
    with checked():
        return DiffusionPipeline.from_pretrained(str(folder), dtype=dtype, **given)


def _networks(
    folder: Path, classes: Mapping[str, type], dtype: torch.dtype, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Load the networks of a pipeline's folder, each with exactly the weights that it has."""
    loaded = {}
    for part, cls in classes.items():
        if not issubclass(cls, torch.nn.Module):
            continue
        variant = options.get("variant") if weight_files(folder / part, options.get("variant")) else None
        # The safety checker is never used; and what is quantised on loading, diffusers alone knows how to load.
        if part == "safety_checker" or options.get("quantization_config") is not None:
            networks.require_room(cls, folder / part, variant)
        else:
            chosen = {key: options[key] for key in ("use_safetensors", "low_cpu_mem_usage") if key in options}
            loaded[part] = networks.load(cls, folder, part, dtype, variant, **chosen)
    return loaded


def _require_family(asked_for: Asked, family: type[PipelineBackbone] | None, name: str | os.PathLike[str]) -> None:
    """Refuse a preset of another family before the model's weights are loaded."""
    if asked_for.preset is not None:
        title = "one of a family that is not known" if family is None else f"{family.title}"
        require_family(asked_for.preset, family, f"{shown(os.fspath(name))}, {title}")


def _adapt(pipe: Any, loras: tuple[adapters.Lora, ...], scheduler: str | None, *, own: bool) -> None:
    """Load LoRA weights, and exchange the scheduler for the one that is asked for or that the LoRA brings.

    Args:
        pipe: the pipeline.
        loras: the weights.
        scheduler: the class that is asked for, or None.
        own: whether to take a LoRA's own scheduler.
    """
    adapters.apply(pipe, loras, with_scheduler=own)
    if scheduler is not None:
        kinds = _kinds(pipe)
        own = pipe.scheduler if kind_of(pipe.scheduler) in kinds else suiting(pipe.scheduler, kinds=kinds)
        pipe.scheduler = exchanged(own, scheduler)


def _make_invertible(pipe: Any) -> None:
    """Switch clipping off, and exchange a scheduler of several steps for a single-step one on the same noise levels."""
    scheduler = getattr(pipe, "scheduler", None)
    if scheduler is None:
        return
    name = type(scheduler).__name__
    clips = scheduler.config.get("clip_sample", False) or scheduler.config.get("thresholding", False)
    kinds = _kinds(pipe)
    if name in SUPPORTED and kind_of(scheduler) in kinds and not clips:
        return
    pipe.scheduler = suiting(scheduler, kinds=kinds)
    single = type(pipe.scheduler).__name__
    if single != name:
        shift = getattr(pipe.scheduler, "shift", None)
        dynamic = pipe.scheduler.config.get("use_dynamic_shifting", False)
        levels = "" if shift is None or dynamic else f", with a shift of {shift:g}"
        log.info("%s cannot be inverted step by step; sampling with %s instead%s", name, single, levels)


def _kinds(pipe: Any) -> tuple[Kind, ...]:
    """Return the kinds of schedulers that sample a pipeline's model; its scheduler's, if the family is not known."""
    family = family_of(pipe)
    if family is not None:
        return family.kinds_sampled()
    return ("flow",) if is_flow(pipe.scheduler) else ("diffusion", "edm")
