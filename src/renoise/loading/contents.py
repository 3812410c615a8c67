"""What a single file of weights holds, by the names and shapes of its tensors; no weights are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from renoise.errors import ModelError, Parts
from renoise.loading import layouts
from renoise.loading.layouts import Layout

_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        what: a description in words.
        layout: how to load it; None if it cannot be loaded as a model.
        lacks: the parts of the pipeline for which it has no weights.
        advice: what to do with a file that cannot be loaded.
        adapter: whether it holds LoRA weights or another adapter.
        unread: what it holds that is not read as an adapter, in words; empty if it is a LoRA alone.
        shapes: the shapes of its tensors, by name.
        metadata: what its header says besides.
    """

    what: str
    layout: Layout | None = None
    lacks: tuple[str, ...] = ()
    advice: Parts = layouts.EXPECTED
    adapter: bool = False
    unread: str = ""
    shapes: Shapes = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def require_readable(path: Path) -> None:
    """Refuse files that are not read at all, by the ends of their names.

    Raises:
        ModelError: for any file but a .safetensors file.
    """
    suffix, problem = path.suffix.lower(), f"{path} is not a .safetensors checkpoint"
    if suffix in _PICKLES:
        raise ModelError(
            f"{problem} but a pickle, which can run code when it is read",
            remedy="take the model's .safetensors file, or read it with torch.load(..., weights_only=True), save its "
            "tensors with safetensors.torch.save_file, and give that file",
        )
    if suffix == ".gguf":
        problem += " but a quantised GGUF file, which is not read"
    if suffix != ".safetensors":
        raise ModelError(problem, remedy="take the model's .safetensors file")


def recognise(path: Path) -> Contents:
    """Tell what a .safetensors file holds; only its header is read.

    Raises:
        ModelError: if it is no readable .safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    require_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a readable safetensors file ({error}): it may be damaged or cut short",
            remedy="download it again",
        ) from error
    return replace(_recognised(shapes, metadata), shapes=shapes, metadata=metadata)


def _recognised(shapes: Shapes, metadata: Mapping[str, str]) -> Contents:
    if "renoise.inversion" in metadata:
        return Contents("an inversion that renoise wrote", advice="give it as the image's inversion, besides a model")
    unread = _unread_adapter(shapes)
    if unread:
        advice = "load the base model, with an adapter that is a LoRA"
        return Contents(f"an adapter ({unread}), which is not read", advice=advice, adapter=True, unread=unread)
    for unusable in layouts.MARKED:
        if _is_marked(shapes, unusable.marks):
            return Contents(unusable.what, advice=unusable.advice, adapter=unusable is layouts.ADAPTER)
    network = {key.removeprefix(layouts.DIFFUSION): shape for key, shape in shapes.items()}
    return _unet(network, shapes) or _transformer(network, shapes) or _piece(shapes) or Contents("of no known layout")


def _unread_adapter(shapes: Shapes) -> str:
    """Return what a file holds of adapters that are not read, in words."""
    if _is_marked(shapes, layouts.ADAPTER.marks) and _is_marked(shapes, layouts.BESIDE_CONTROL):
        return layouts.CONTROL_LORA
    return next((what for what, marks in layouts.UNREAD_ADAPTERS.items() if _is_marked(shapes, marks)), "")


def _is_marked(shapes: Shapes, marks: Sequence[str]) -> bool:
    """Tell whether a name has one of the marks in it or, for a mark with a $, at its end."""
    ends = tuple(mark[:-1] for mark in marks if mark.endswith("$"))
    inside = [mark for mark in marks if not mark.endswith("$")]
    return any(key.endswith(ends) or any(mark in key for mark in inside) for key in shapes)


def _unet(network: Shapes, shapes: Shapes) -> Contents | None:
    first = "input_blocks.0.0.weight"
    if first not in network:
        return None
    if _begins(shapes, "conditioner.embedders.0.model.") and not _begins(shapes, "conditioner.embedders.1."):
        return Contents("an SDXL refiner, which only finishes images", advice="load the base model")
    layout = _unet_layout(network)
    channels = network[first][1]
    if channels != 4:
        sort = layouts.UNETS_BY_CHANNELS.get(channels, f"with {channels} input channels")
        advice = "load a text-to-image model, of 4 channels"
        return Contents(f"a checkpoint of {layout.title} {sort}", advice=advice)
    if f"{layouts.DIFFUSION}{first}" not in shapes:
        return Contents(f"the UNet of {layout.title} alone", advice="load the whole checkpoint")
    return _of(layout, shapes)


def _unet_layout(network: Shapes) -> Layout:
    if _begins(network, "conditioner.embedders.1.") or _begins(network, "label_emb."):
        return layouts.SDXL
    if _begins(network, "cond_stage_model."):
        return layouts.SD2 if _begins(network, "cond_stage_model.model.") else layouts.SD1
    width = network.get("input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight", (0, 0))[-1]
    return layouts.SD2 if width == 1024 else layouts.SD1


def _transformer(network: Shapes, shapes: Shapes) -> Contents | None:
    if _begins(network, "joint_blocks."):
        if _begins(network, "joint_blocks.37."):
            return _of(layouts.SD35_LARGE, shapes)
        positions = network.get("pos_embed", (1, 0, 0))[1]
        return _of(layouts.SD35_MEDIUM if positions == 384**2 else layouts.SD3, shapes)
    if not _begins(network, "double_blocks.") or "img_in.weight" not in network:
        return None
    for mark, what in layouts.LIKE_FLUX.items():
        if _begins(network, mark):
            return Contents(f"{what} in a single file", advice="load it as a folder or by its name on the hub")
    channels = network["img_in.weight"][1]
    if channels != 64:
        what = f"a FLUX.1 model with {channels} input channels, which fills in or follows another image"
        return Contents(what, advice="load FLUX.1 dev or schnell")
    return _of(layouts.FLUX_DEV if _begins(network, "guidance_in.") else layouts.FLUX_SCHNELL, shapes)


def _of(layout: Layout, shapes: Shapes) -> Contents:
    """Return the contents of a checkpoint with a layout, and which of the parts it lacks."""
    lacks = (part for part, prefixes in layout.parts.items() if not any(_begins(shapes, p) for p in prefixes))
    return Contents(f"a checkpoint of {layout.title}", layout, tuple(lacks))


def _piece(shapes: Shapes) -> Contents | None:
    for piece in layouts.PIECES:
        if all(_begins(shapes, mark) for mark in piece.marks):
            return Contents(piece.what, advice=piece.advice)
    return None


def _begins(shapes: Shapes, prefix: str) -> bool:
    """Tell whether a name begins with the prefix."""
    return any(key.startswith(prefix) for key in shapes)
