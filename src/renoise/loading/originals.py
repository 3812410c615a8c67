"""Which of a single file's weights go where: diffusers' own conversions are followed on tensors without numbers.

diffusers renames, splits and joins the weights of the original layouts, passes over those that it does not know, and
leaves those that are missing without values. Here its conversions run on tensors that take no memory and remember
the names they came from, so that what is missing, left over or of another shape is told before anything is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from renoise.errors import ModelError
from renoise.escaping import shown
from renoise.loading.layouts import DIFFUSION, UNREAD, Layout
from renoise.loading.networks import Misfits, Shapes, described, unknown

# The prefixes of the text encoders' names in single files: those that transformers names, and those of OpenCLIP.
_CLIP = (
    "cond_stage_model.transformer.",
    "conditioner.embedders.0.transformer.",
    "text_encoders.clip_l.transformer.",
    "text_encoders.clip_g.transformer.",
)
_OPEN_CLIP = ("cond_stage_model.model.", "conditioner.embedders.1.model.")
_T5 = "text_encoders.t5xxl.transformer."
# What OpenCLIP's files hold besides, without the prefix.
_BESIDE_OPEN_CLIP = r"^(logit_scale|text_projection|attn_mask)$|^visual\."
# SD3's files may leave out the projection of CLIP-L, which diffusers takes for the identity.
_IDENTITY = {"text_encoders.clip_l.transformer.": "text_projection.weight"}


class _Traced(torch.Tensor):
    """A tensor without numbers that remembers the names of the tensors it was made from."""

    sources: frozenset[str] = frozenset()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        sources = frozenset().union(*(tensor.sources for tensor in _tensors(args)))
        for tensor in _tensors(result):
            tensor.sources = sources
        return result


def _tensors(value: Any) -> Iterator[_Traced]:
    if isinstance(value, _Traced):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)


def _sources(tensor: torch.Tensor) -> frozenset[str]:
    # Tensors that a conversion makes up come from no name.
    return tensor.sources if isinstance(tensor, _Traced) else frozenset()


def require_fitting(path: Path, shapes: Shapes, layout: Layout, classes: Mapping[str, type], folder: Path) -> None:
    """Check that a single file holds exactly the weights of the networks that are loaded from it.

    Args:
        path: the file, for messages.
        shapes: the shapes of its tensors, by name.
        layout: its layout.
        classes: the classes of the networks that are loaded from it, by their names in the pipeline.
        folder: the pipeline's folder with their configurations.

    Raises:
        ModelError: if weights are missing, left over or of another shape.
    """
    heads = {part: _head(part, shapes, layout) for part in classes}
    for part, cls in classes.items():
        own = {name: shape for name, shape in shapes.items() if _is_of(name, heads[part], heads)}
        _misfits(cls, folder / part, heads[part], own, path, part).refuse(part, path)


def unread(shapes: Shapes, layout: Layout) -> tuple[str, ...]:
    """Return the names of tensors that belong to no part of a layout, but for those that files often hold besides."""
    prefixes = [DIFFUSION, *(prefix for prefixes in layout.parts.values() for prefix in prefixes), *UNREAD]
    bare = not any(name.startswith(DIFFUSION) for name in shapes)
    return () if bare else tuple(sorted(name for name in shapes if not name.startswith(tuple(prefixes))))


def _head(part: str, shapes: Shapes, layout: Layout) -> str:
    """Return the prefix of a part's names; an empty one for a network alone without prefix."""
    if part not in layout.parts:
        return DIFFUSION if any(name.startswith(DIFFUSION) for name in shapes) else ""
    # The last of several is the one that diffusers takes.
    prefixes = [prefix for prefix in layout.parts[part] if any(name.startswith(prefix) for name in shapes)]
    exact = (*_CLIP, *_OPEN_CLIP, _T5)
    return next((one for one in exact if any(one.startswith(prefix) for prefix in prefixes)), prefixes[-1])


def _is_of(name: str, head: str, heads: Mapping[str, str]) -> bool:
    if head:
        return name.startswith(head)
    return not name.startswith((*(other for other in heads.values() if other), *UNREAD))


def _misfits(cls: Any, place: Path, head: str, own: Shapes, path: Path, part: str) -> Misfits:
    network = described(cls, place)
    wanted = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    traced = {}
    for name, shape in own.items():
        tensor = torch.empty(shape, device="meta").as_subclass(_Traced)
        tensor.sources = frozenset((name,))
        traced[name] = tensor
    try:
        converted = dict(_converted(network, head, traced))
    except KeyError as error:  # a conversion asks for a weight that is not there
        return Misfits(missing=(f"{head}{error.args[0]}" if error.args else head,))
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise ModelError(
            f"the weights of the {part} in {path} do not fit its configuration ({shown(error, 200)})",
            argument="model",
            remedy="download them again, or take weights and configuration of one model",
        ) from error
    optional = {*getattr(network, "all_tied_weights_keys", {}), _IDENTITY.get(head)}
    used = {source for name, tensor in converted.items() if name in wanted for source in _sources(tensor)}
    return Misfits(
        missing=tuple(sorted(set(wanted) - set(converted) - optional)),
        surplus=_left_over(cls, head, set(own) - used, wanted),
        shapes=tuple(
            (name, tuple(tensor.shape), wanted[name])
            for name, tensor in converted.items()
            if name in wanted and tuple(tensor.shape) != wanted[name]
        ),
    )


def _converted(network: Any, head: str, traced: dict[str, _Traced]) -> Iterable[tuple[str, torch.Tensor]]:
    """Return the weights by the network's own names, as diffusers converts them."""
    from diffusers.loaders import single_file_model, single_file_utils
    from transformers import PreTrainedModel

    if not isinstance(network, PreTrainedModel):
        known = single_file_model.SINGLE_FILE_LOADABLE_CLASSES
        base = next(base.__name__ for base in type(network).__mro__ if base.__name__ in known)
        converted = known[base]["checkpoint_mapping_fn"](checkpoint=traced, config=network.config)
        return [(name, tensor) for name, tensor in converted.items() if isinstance(tensor, torch.Tensor)]
    if head in _OPEN_CLIP:
        converted = single_file_utils.convert_open_clip_checkpoint(network, traced, prefix=head)
    else:
        converted = {name.removeprefix(head): tensor for name, tensor in traced.items()}
    flat = not hasattr(network, "text_model")
    return [(name.removeprefix("text_model.") if flat else name, tensor) for name, tensor in converted.items()]


def _left_over(cls: type, head: str, names: Collection[str], wanted: Shapes) -> tuple[str, ...]:
    """Return those of the names in the file that the network has no use for and that are not known to be harmless."""
    left = {name.removeprefix(head): name for name in names}
    if head in _OPEN_CLIP:
        # Stable Diffusion 2.x leaves out the encoder's last layer, which many files hold all the same.
        layers = {int(found[1]) for name in wanted if (found := re.search(r"encoder\.layers\.(\d+)\.", name))}
        last = f"transformer.resblocks.{max(layers, default=-1) + 1}."
        left = {
            name: full
            for name, full in left.items()
            if not name.startswith(last) and not re.search(_BESIDE_OPEN_CLIP, name)
        }
    return tuple(sorted(left[name] for name in unknown(cls, left)))
