"""Loading one network from its folder with nothing made up: weights that are missing or left over are told by name.

diffusers and transformers give missing weights random values, or none, and pass over those that they do not know. They
log it, and load on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renoise.errors import ModelError
from renoise.escaping import shown
from renoise.loading.folders import weight_files

Shapes = Mapping[str, tuple[int, ...]]

# Weights that files have besides those of the network at hand, by the beginning of the class's name. CLIP's halves and
# their projections are often stored together, and T5's encoder with the layer that its decoder ends in; what older
# versions stored as weights is counted up. Autoencoders come with what their training alone needs.
LEFT_OVER: Mapping[str, str] = {
    "CLIPText": r"(^|\.)(logit_scale|text_projection(\.weight)?|position_ids)$|^(vision_model|visual_projection)\.",
    "CLIPVision": r"(^|\.)(logit_scale|position_ids)$|^(text_model|text_projection|visual_projection)\.",
    "Siglip": r"(^|\.)(logit_scale|logit_bias|position_ids)$|^text_model\.",
    "T5": r"^(lm_head|decoder)\.",
    "MT5": r"^(lm_head|decoder)\.",
    "Bert": r"(^|\.)position_ids$|^cls\.",
    "Autoencoder": r"^(loss|model_ema)\.",
}
# A configuration may describe so many weights more than its files hold before it is read, about 400 MB.
_SPARE = 10**8
_FEW = 3


@dataclass(frozen=True)
class Misfits:
    """The weights of a network that do not fit it.

    Attributes:
        missing: names of weights that the files lack.
        surplus: names of weights that the network lacks.
        shapes: (name, shape in the file, shape in the network) of weights that have another shape.
    """

    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    def refuse(self, what: str, where: object) -> None:
        """Refuse the weights if any of them does not fit.

        Args:
            what: what the network is, such as "unet".
            where: the folder or file of the weights.

        Raises:
            ModelError: if one does not fit; it names the first few of each kind and their number.
        """
        problems = []
        if self.missing:
            problems.append(f"lack {_counted(self.missing)}")
        if self.shapes:
            first = [f"{name} ({_size(there)}, not {_size(wanted)})" for name, there, wanted in self.shapes]
            problems.append(f"have another shape in {_counted(first)}")
        if self.surplus:
            problems.append(f"hold what the network does not have, {_counted(self.surplus)}")
        if problems:
            raise ModelError(
                f"the weights of the {what} in {where} do not fit its configuration: they {', '.join(problems)}",
                argument="model",
                remedy="download them again, or take weights and configuration of one model",
            )


def load(cls: Any, folder: Path, part: str, dtype: Any, variant: str | None, **options: Any) -> Any:
    """Load a network from a pipeline's folder, with exactly the weights that it has.

    Args:
        cls: the network's class in diffusers or transformers.
        folder: the pipeline's folder.
        part: the name of the network in the pipeline.
        dtype: the floating-point type.
        variant: the variant of the weights; None means none.
        options: other options of `from_pretrained`.

    Raises:
        ModelError: if weights are missing, left over or of another shape, or are pickles that are not wanted.
    """
    from transformers import PreTrainedModel

    place = folder / part
    if options.get("use_safetensors") and any(file.suffix != ".safetensors" for file in weight_files(place, variant)):
        problem = f"{place} holds its weights as pickles, which use_safetensors=True leaves unread"
        raise ModelError(problem, argument="model", remedy="take the .safetensors files of the model")
    there, described = require_room(cls, place, variant)
    if issubclass(cls, PreTrainedModel):
        # Those of another shape are told afterwards, with all others.
        options["ignore_mismatched_sizes"] = True
    else:
        both = (name for name in there if name in described and there[name] != described[name])
        Misfits(shapes=tuple((name, there[name], described[name]) for name in both)).refuse(part, place)
    network, told = cls.from_pretrained(str(place), dtype=dtype, variant=variant, output_loading_info=True, **options)
    Misfits(
        tuple(sorted(told["missing_keys"])),
        unknown(cls, told["unexpected_keys"]),
        tuple(sorted((name, tuple(there), tuple(wanted)) for name, there, wanted in told["mismatched_keys"])),
    ).refuse(part, place)
    return network


def require_room(cls: Any, place: Path, variant: str | None = None) -> tuple[Shapes, Shapes]:
    """Refuse a configuration that describes a network far larger than its weights, before memory is taken for it.

    Args:
        cls: the network's class in diffusers or transformers.
        place: the folder of the network, with its config.json and its weights.
        variant: the variant of the weights; None means none.

    Returns:
        The shapes of the weights in the files and of those in the network, by name.

    Raises:
        ModelError: if it does, if a file of weights is damaged, or if a pickle holds more than weights.
    """
    there, described = read_shapes(weight_files(place, variant)), described_shapes(cls, place)
    held, wanted = (sum(map(math.prod, shapes.values())) for shapes in (there, described))
    if wanted > _SPARE + 4 * held:
        problem = f"{place / 'config.json'} describes a network of {wanted:,} weights, but its files hold {held:,}"
        remedy = "download them again, or take weights and configuration of one model"
        raise ModelError(problem, argument="model", remedy=remedy)
    return there, described


def unknown(cls: type, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the weights that a network does not have which are not known to be harmless, sorted."""
    harmless = [pattern for beginning, pattern in LEFT_OVER.items() if cls.__name__.startswith(beginning)]
    return tuple(sorted(name for name in names if not any(re.search(pattern, name) for pattern in harmless)))


def read_shapes(files: Collection[Path]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all weights in files, by their names; of .safetensors files only the headers are read.

    Raises:
        ModelError: if a file is damaged, or is a pickle that holds more than weights.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in files:
        if path.suffix != ".safetensors":
            shapes |= _pickled(path)
            continue
        try:
            with safe_open(path, framework="pt") as file:
                shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path} cannot be loaded ({error}): it may be damaged or cut short",
                argument="model",
                remedy="download it again",
            ) from error
    return shapes


def _pickled(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes in a pickle, by torch's reader that takes weights and runs nothing."""
    import torch

    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # torch raises many sorts of errors for files that are no pickles of weights
        raise ModelError(
            f"{path} is a pickle that holds more than weights, or is damaged; it was not run",
            argument="model",
            remedy="take the .safetensors files of the model",
        ) from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds no weights by name", argument="model", remedy="download it again")
    return {str(key): tuple(value.shape) for key, value in content.items() if isinstance(value, torch.Tensor)}


def described_shapes(cls: Any, place: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of a network that a folder's config.json describes; no memory is taken.

    Raises:
        ModelError: if no network can be made of it.
    """
    return {name: tuple(weight.shape) for name, weight in described(cls, place).state_dict().items()}


def described(cls: Any, place: Path) -> Any:
    """Make the network that a folder's config.json describes, without numbers: no memory is taken.

    Raises:
        ModelError: if no network can be made of it.
    """
    import torch
    from transformers import PreTrainedModel

    try:
        with torch.device("meta"):
            if issubclass(cls, PreTrainedModel):
                return cls(cls.config_class.from_pretrained(str(place)))
            return cls.from_config(cls.load_config(str(place)))
    except Exception as error:  # many sorts of errors come of a configuration without sense
        raise ModelError(
            f"{place / 'config.json'} describes no {cls.__name__} that can be built "
            f"({type(error).__name__}: {shown(error, 200)})",
            argument="model",
            remedy="download it again",
        ) from error


def _counted(names: Collection[str]) -> str:
    first = ", ".join(shown(name, 100) for name in list(names)[:_FEW])
    return first if len(names) <= _FEW else f"{first} and {len(names) - _FEW} more"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
