"""The original code's names of layers: what diffusers makes of whole checkpoints with these names is what is found."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Tensor

from quick import slow_but
from renoise import ModelError
from renoise.errors import AdapterWarning
from renoise.loading import lora as loading
from renoise.loading.adapter_originals import Part, originals
from renoise.loading.adapter_places import places
from tiny_pipelines import BUILDERS
from tiny_pipelines.networks import network_alone
from written import built

Tensors = dict[str, Tensor]

# Diffusers converts whole checkpoints of Flux and Lumina 2 at their released widths alone.
FLUX: dict[str, Any] = {
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
}
LUMINA: dict[str, Any] = {"hidden_size": 2304, "num_attention_heads": 24, "num_kv_heads": 8, "axes_dim_rope": (32,) * 3}


def alone(name: str, **sizes: Any) -> Any:
    pipe: Any = network_alone(name, device="meta", **sizes)
    return pipe.transformer


# The network of each family, and diffusers' conversion of whole checkpoints.
FAMILIES: dict[str, tuple[Callable[[], Any], str]] = {
    "Flux": (lambda: alone("FluxPipeline", guidance_embeds=True, **FLUX), "flux_transformer_checkpoint"),
    "Chroma": (lambda: alone("ChromaPipeline", **FLUX), "chroma_transformer_checkpoint"),
    "FLUX.2": (lambda: alone("Flux2Pipeline"), "flux2_transformer_checkpoint"),
    "SD3": (lambda: built("sd3").transformer, "sd3_transformer_checkpoint"),
    "SD3.5, two attentions": (lambda: built("sd35").transformer, "sd3_transformer_checkpoint"),
    "Z-Image": (lambda: alone("ZImagePipeline"), "z_image_transformer_checkpoint"),
    "Lumina 2": (lambda: alone("Lumina2Pipeline", **LUMINA), "lumina2"),
    "Krea 2": (lambda: alone("Krea2Pipeline"), "krea2_transformer_checkpoint"),
}
# Tiny pipelines of the families.
NETWORKS: dict[str, Callable[[], Any]] = {
    **{
        family: partial(network_alone, f"{name}Pipeline")
        for family, name in {
            "Flux": "Flux",
            "Chroma": "Chroma",
            "FLUX.2": "Flux2",
            "Z-Image": "ZImage",
            "Lumina 2": "Lumina2",
            "Krea 2": "Krea2",
        }.items()
    },
    "SD3": BUILDERS["sd3-no-t5"],
    "SD3.5": BUILDERS["sd35"],
}
# Diffusers' conversion of LoRAs has its two halves in another order than that of whole checkpoints.
LEFT_OUT = {"FLUX.2": {"norm_out.linear"}}


class Checkpoint(dict[str, Tensor]):
    """Weights by the original's names; those of layers that no LoRA changes are there when they are asked for."""

    def pop(self, key: str, default: Any = None) -> Any:
        return super().pop(key, torch.zeros(12))


def dotted(table: Mapping[str, tuple[Part, ...]]) -> dict[str, tuple[Part, ...]]:
    """The layers by their names with dots alone."""
    flat = {name.replace(".", "_") for name in table if "." in name}
    return {name: parts for name, parts in table.items() if name not in flat}


def rows_of(network: Any) -> dict[str, int]:
    """The rows of the network's layers that a LoRA can change, by their paths."""
    modules = network.named_modules()
    return {path: len(m.weight) for path, m in modules if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)}


def numbered(rows: dict[str, int]) -> dict[str, Tensor]:
    """Weights of one column, of which no two rows are the same."""
    return {name: 10**6 * number + torch.arange(size)[:, None] for number, (name, size) in enumerate(rows.items())}


@pytest.mark.parametrize(
    "beginning", ["", "lora_unet_", "lycoris_", "transformer.", "diffusion_model.", "model.diffusion_model."]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_have_the_rows_that_whole_checkpoints_give_them(family: str, beginning: str) -> None:
    made, conversion = FAMILIES[family]
    network, left_out = made(), LEFT_OUT.get(family, set())
    own = rows_of(network)
    named = dotted(originals(network))
    rows = {name: max(taken.stop for part in parts for taken in part.rows) for name, parts in named.items()}
    covered = {part.layer for parts in named.values() for part in parts}
    # The other layers have the same names in both.
    rows |= {path: size for path, size in own.items() if path not in covered | left_out}
    weights = numbered(rows)
    checkpoint = Checkpoint({f"{name}.{end}": weight for name, weight in weights.items() for end in ("weight", "bias")})
    whole = getattr(single_file_utils, f"convert_{conversion}_to_diffusers")(checkpoint)

    def spelt(name: str) -> str:
        return beginning + (name.replace(".", "_") if beginning.endswith("_") else name)

    # Without a pipeline, whose conversion of LoRA names could answer for the table.
    found = places(None, {"transformer": network}, {spelt(name): size for name, size in rows.items()})
    met = set()
    for name, weight in weights.items():
        for place in found[spelt(name)]:
            taken = torch.cat([weight[part] for part in place.rows])
            assert len(taken) == own[place.layer], place
            assert torch.equal(taken, whole[f"{place.layer}.weight"]), place
            met.add(place.layer)
    assert met == own.keys() - left_out


RANK, ALPHA = 2, 3.0


def drawn(*shape: int) -> Tensor:
    return 0.3 * torch.randn(shape)


def lora(shape: tuple[int, ...]) -> tuple[Tensors, Tensor]:
    up, down = drawn(shape[0], RANK), drawn(RANK, *shape[1:])
    held = {".lora_up.weight": up.reshape(*up.shape, *(1 for _ in shape[2:])), ".lora_down.weight": down}
    return {**held, ".alpha": torch.tensor(ALPHA)}, (ALPHA / RANK * up @ down.flatten(1)).reshape(shape)


def peft(shape: tuple[int, ...]) -> tuple[Tensors, Tensor]:
    held, meant = lora(shape)
    return {k.replace("_up", "_B").replace("_down", "_A"): tensor for k, tensor in held.items()}, meant


def loha(shape: tuple[int, ...]) -> tuple[Tensors, Tensor]:
    columns = torch.Size(shape[1:]).numel()
    a1, a2 = drawn(shape[0], RANK), drawn(shape[0], RANK)
    b1, b2 = drawn(RANK, columns), drawn(RANK, columns)
    held = {".hada_w1_a": a1, ".hada_w1_b": b1, ".hada_w2_a": a2, ".hada_w2_b": b2, ".alpha": torch.tensor(ALPHA)}
    return held, (ALPHA / RANK * (a1 @ b1) * (a2 @ b2)).reshape(shape)


def lokr(shape: tuple[int, ...]) -> tuple[Tensors, Tensor]:
    rows = 2 - shape[0] % 2
    w1, w2 = drawn(rows, 2), drawn(shape[0] // rows, shape[1] // 2, *shape[2:])
    meant = torch.kron(w1.reshape(rows, 2, *(1 for _ in shape[2:])), w2)
    return {".lokr_w1": w1, ".lokr_w2": w2}, meant


def full(shape: tuple[int, ...]) -> tuple[Tensors, Tensor]:
    change = drawn(*shape)
    return {".diff": change}, change


# What a file holds of a layer, and how its names begin.
FORMS: dict[str, tuple[Callable[[tuple[int, ...]], tuple[Tensors, Tensor]], str]] = {
    "LoRA": (lora, "lora_unet_"),
    "LoRA, A and B with alphas": (peft, "model.diffusion_model."),
    "LoHa": (loha, "lycoris_"),
    "LoKr": (lokr, "diffusion_model."),
    "full differences": (full, ""),
    "DoRA": (lora, "lora_unet_"),
}
ALL = [f"{family}: {form}" for family in NETWORKS for form in FORMS]


@pytest.mark.parametrize("case", slow_but(("SD3: LoRA", "SD3.5: DoRA", "Flux: LoHa", "Lumina 2: LoKr"), ALL))
def test_adapters_by_these_names_are_in_force(tmp_path: Path, case: str) -> None:
    family, form = case.split(": ")
    pipe = NETWORKS[family]()
    made, beginning = FORMS[form]
    tensors: Tensors = {}
    meant: Tensors = {}
    for name, parts in dotted(originals(pipe.transformer)).items():
        rows = [torch.cat([torch.arange(taken.start, taken.stop) for taken in part.rows]) for part in parts]
        layers = [pipe.transformer.get_submodule(part.layer).weight.detach() for part in parts]
        whole = torch.empty(sum(map(len, rows)), *layers[0].shape[1:])
        for own, weight in zip(rows, layers, strict=True):
            whole[own] = weight
        held, change = made(tuple(whole.shape))
        whole += change
        if form == "DoRA":
            others = list(range(1, whole.ndim))
            held[".dora_scale"] = 1.0 + torch.rand(len(whole), *(1 for _ in others))
            whole *= held[".dora_scale"] / torch.linalg.vector_norm(whole, dim=others, keepdim=True)
        spelt = beginning + (name.replace(".", "_") if beginning.endswith("_") else name)
        tensors |= {spelt + end: tensor for end, tensor in held.items()}
        meant |= {part.layer: whole[own] for part, own in zip(parts, rows, strict=True)}
    save_file(tensors, tmp_path / "l.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdapterWarning)
        loading.apply(pipe, loading.find([(str(tmp_path / "l.safetensors"), 1.0)], {}), with_scheduler=False)
    pipe.fuse_lora(components=["transformer"])
    for layer, weight in meant.items():
        fused = pipe.transformer.get_submodule(layer).base_layer.weight
        torch.testing.assert_close(fused, weight, rtol=1e-3, atol=1e-4)


def test_a_weight_with_other_rows_than_its_layers_is_refused(tmp_path: Path) -> None:
    # As many rows as each of the three layers has, so that it would fit every one of them.
    layer = "lora_unet_joint_blocks_0_x_block_attn_qkv"
    factors = {f"{layer}.lora_up.weight": drawn(32, 2), f"{layer}.lora_down.weight": drawn(2, 32)}
    save_file(factors, tmp_path / "l.safetensors")
    pipe = built("sd3")
    with pytest.raises(ModelError, match=rf"does not fit .*: {layer} \(.*\) is no change of a weight of 32x32; take a"):
        loading.apply(pipe, loading.find([(str(tmp_path / "l.safetensors"), 1.0)], {}), with_scheduler=False)
    assert not hasattr(pipe.transformer, "peft_config")


UNKNOWN = {
    "Z-Image": ("layers.0.attention.qkv", "layers.0.attention.nowhere"),
    "Flux": ("lora_unet_double_blocks_1_img_attn_qkv", "lora_unet_double_blocks_7_img_attn_qkv"),
    "SD3": (
        "diffusion_model.joint_blocks.0.context_block.attn.qkv",
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q",
    ),
}


@pytest.mark.parametrize("family", UNKNOWN)
def test_a_layer_that_is_unknown_does_not_hide_the_others(tmp_path: Path, family: str) -> None:
    pipe, (known, unknown) = NETWORKS[family](), UNKNOWN[family]
    width = next(m.weight.shape[1] for n, m in pipe.transformer.named_modules() if n.endswith(".to_q"))
    shapes = {known: (3 * width, width), unknown: (3 * width, width)}
    tensors = {layer + end: tensor for layer, shape in shapes.items() for end, tensor in lora(shape)[0].items()}
    save_file(tensors, tmp_path / "l.safetensors")
    with pytest.warns(
        AdapterWarning, match=f"only 1 of the 2 layers of the LoRA .*, and not {unknown}: it may be made"
    ):
        loading.apply(pipe, loading.find([(str(tmp_path / "l.safetensors"), 1.0)], {}), with_scheduler=False)
    assert sum(isinstance(module, BaseTunerLayer) for module in pipe.transformer.modules()) == 3
