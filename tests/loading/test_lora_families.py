"""LoRA files of the families that diffusers loads them for: what the pipeline's own call takes does the same here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file

from quick import slow_but
from renoise import ModelError
from renoise.errors import AdapterWarning
from renoise.loading import adapter_forms
from renoise.loading import lora as loading
from renoise.loading.adapter_parts import adaptable
from renoise.loading.adapter_places import places
from renoise.loading.applying import fit
from renoise.loading.contents import recognise
from tiny_pipelines import BUILDERS
from tiny_pipelines.networks import NETWORKS, network_alone
from written import built

Tensors = dict[str, torch.Tensor]
RANK = 2
AB, DOWN_UP = (".lora_A.weight", ".lora_B.weight"), (".lora_down.weight", ".lora_up.weight")


def layers(name: str, ends: tuple[str, ...]) -> dict[str, torch.Size]:
    """The shapes of a network's linear layers, by their paths."""
    network: Any = network_alone(name).transformer
    found = {path: module for path, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    return {path: module.weight.shape for path, module in found.items() if path.endswith(ends)}


def pairs(shapes: dict[str, torch.Size], ends: tuple[str, str], alpha: float | None = None) -> Tensors:
    """Both factors of layers, by the names of a file."""
    made: Tensors = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer, shape in shapes.items():
            made |= {layer + ends[0]: torch.randn(RANK, shape[1]), layer + ends[1]: torch.randn(shape[0], RANK)}
            if alpha is not None:
                made[f"{layer}.alpha"] = torch.tensor(alpha)
    return made


def spelt(
    name: str, ends: tuple[str, ...], beginning: str, factors: tuple[str, str], alpha: float | None = None
) -> Tensors:
    """Factors by the network's own paths, with underscores if the beginning ends in one."""
    shapes = layers(name, ends)
    flat = beginning.endswith("_")
    return pairs({beginning + (p.replace(".", "_") if flat else p): s for p, s in shapes.items()}, factors, alpha)


ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def of_flux(beginning: str, factors: tuple[str, str], alpha: float | None = None, single: bool = False) -> Tensors:
    """Names of Black Forest Labs' code, which joins what diffusers keeps apart."""
    blocks = {"img_attn.qkv": (48, 16), "txt_attn.qkv": (48, 16), "img_attn.proj": (16, 16), "txt_attn.proj": (16, 16)}
    shapes = {f"double_blocks.{i}.{layer}": torch.Size(shape) for i in range(2) for layer, shape in blocks.items()}
    if single:
        shapes |= {f"single_blocks.{i}.linear1": torch.Size((48 + 96, 16)) for i in range(2)}
        shapes |= {f"single_blocks.{i}.linear2": torch.Size((16, 16 + 48)) for i in range(2)}
    flat = beginning.endswith("_")
    return pairs({beginning + (p.replace(".", "_") if flat else p): s for p, s in shapes.items()}, factors, alpha)


def of_krea(beginning: str) -> Tensors:
    shapes = {
        "blocks.0.attn.wq": (16, 16),
        "blocks.1.attn.wo": (16, 16),
        "blocks.0.mlp.down": (16, 24),
        "first": (16, 16),
    }
    return pairs({beginning + p: torch.Size(s) for p, s in shapes.items()}, AB)


# The files that a pipeline's own call takes: the class, what the file holds, and how many layers it adapts.
TAKEN: dict[str, tuple[str, Callable[[], Tensors], int]] = {
    **{f"{name}, transformer.": (name, partial(spelt, name, ATTENTION, "transformer.", AB), 0) for name in NETWORKS},
    "Flux, kohya": ("FluxPipeline", lambda: of_flux("lora_unet_", DOWN_UP, 1.0), 16),
    "Flux, ComfyUI": ("FluxPipeline", lambda: of_flux("diffusion_model.", DOWN_UP, 1.0), 16),
    "Flux, flat": ("FluxPipeline", lambda: spelt("FluxPipeline", ATTENTION, "lora_transformer_", DOWN_UP, 1.0), 0),
    "Chroma, kohya": ("ChromaPipeline", lambda: of_flux("lora_unet_", DOWN_UP, 1.0), 16),
    "FLUX.2, kohya": ("Flux2Pipeline", lambda: of_flux("lora_unet_", DOWN_UP, 3.0, single=True), 20),
    "FLUX.2, ai-toolkit": ("Flux2KleinPipeline", lambda: of_flux("diffusion_model.", AB, single=True), 20),
    "FLUX.2, PEFT": ("Flux2KleinPipeline", lambda: of_flux("base_model.model.", AB), 16),
    "FLUX.2, PEFT, diffusers' names": (
        "Flux2KleinPipeline",
        lambda: spelt("Flux2KleinPipeline", ATTENTION, "base_model.model.", AB),
        0,
    ),
    "Z-Image, ai-toolkit": ("ZImagePipeline", lambda: spelt("ZImagePipeline", ATTENTION, "diffusion_model.", AB), 0),
    "Z-Image, kohya": ("ZImagePipeline", lambda: spelt("ZImagePipeline", ATTENTION, "lora_unet_", DOWN_UP, 1.0), 0),
    "Z-Image, kohya, joined": (
        "ZImagePipeline",
        lambda: pairs(
            {
                "lora_unet_layers_0_attention_qkv": torch.Size((48, 16)),
                "lora_unet_layers_0_attention_out": torch.Size((16, 16)),
            },
            DOWN_UP,
            1.0,
        ),
        4,
    ),
    "Qwen-Image, kohya": (
        "QwenImagePipeline",
        lambda: spelt("QwenImagePipeline", (*ATTENTION, "img_in"), "lora_unet_", DOWN_UP, 1.0),
        0,
    ),
    "Qwen-Image, ComfyUI": (
        "QwenImagePipeline",
        lambda: spelt("QwenImagePipeline", ATTENTION, "diffusion_model.", DOWN_UP, 4.0),
        0,
    ),
    "Qwen-Image, bare with alphas": (
        "QwenImagePipeline",
        lambda: spelt("QwenImagePipeline", ATTENTION, "", DOWN_UP, 4.0),
        0,
    ),
    "Qwen-Image, default": (
        "QwenImagePipeline",
        lambda: spelt("QwenImagePipeline", ATTENTION, "", (".lora_A.default.weight", ".lora_B.default.weight")),
        0,
    ),
    "Krea 2, ComfyUI": ("Krea2Pipeline", lambda: of_krea("diffusion_model."), 4),
    "Krea 2, ai-toolkit": ("Krea2Pipeline", lambda: of_krea("base_model.model."), 4),
    "HiDream, ComfyUI": (
        "HiDreamImagePipeline",
        lambda: spelt("HiDreamImagePipeline", ATTENTION, "diffusion_model.", AB),
        0,
    ),
}
SOME = ("Flux, kohya", "FLUX.2, PEFT", "Z-Image, kohya, joined", "Qwen-Image, kohya", "Krea 2, ai-toolkit")


def deltas(pipe: Any) -> Tensors:
    return {
        path: layer.get_delta_weight(layer.active_adapters[0])
        for path, layer in pipe.transformer.named_modules()
        if isinstance(layer, BaseTunerLayer)
    }


def loaded(name: str, file: Path, strength: float = 1.0) -> Any:
    pipe = network_alone(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdapterWarning)
        loading.apply(pipe, loading.find([(str(file), strength)], {}), with_scheduler=False)
    return pipe


@pytest.mark.parametrize("form", slow_but(SOME, TAKEN))
def test_what_a_pipeline_takes_makes_the_same_change(tmp_path: Path, form: str) -> None:
    name, made, count = TAKEN[form]
    file = tmp_path / "l.safetensors"
    save_file({key: weight.contiguous() for key, weight in made().items()}, file)
    assert recognise(file).adapter
    theirs: Any = network_alone(name)
    theirs.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="l")
    expected, ours = deltas(theirs), deltas(loaded(name, file))
    assert expected.keys() == ours.keys()
    assert len(ours) == (count or len(made()) // (3 if any(".alpha" in key for key in made()) else 2))
    for path, delta in ours.items():
        torch.testing.assert_close(delta, expected[path])


def lokr(shapes: dict[str, torch.Size]) -> tuple[Tensors, Tensors]:
    """A LoKr of layers, and the changes that it means."""
    made: Tensors = {}
    meant: Tensors = {}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for layer, (out, into) in shapes.items():
            w1, w2 = torch.randn(4, 2), torch.randn(out // 4, into // 2)
            made |= {f"{layer}.lokr_w1": w1, f"{layer}.lokr_w2": w2, f"{layer}.alpha": torch.tensor(1e10)}
            meant[layer] = torch.einsum("ac,bd->abcd", w1, w2).reshape(out, into)
    return made, meant


@pytest.mark.parametrize(
    "beginning", ["lycoris_", "transformer.", "diffusion_model.", "", "lora_unet_", "lora_transformer_"]
)
@pytest.mark.parametrize("name", slow_but(("ZImagePipeline", "SanaPipeline"), NETWORKS))
def test_a_lokr_by_the_networks_own_names_works_for_every_family(tmp_path: Path, name: str, beginning: str) -> None:
    shapes = layers(name, ATTENTION)
    made, meant = lokr(shapes)
    flat = beginning.endswith("_")
    layer_of = {key: key.rpartition(".")[0] for key in made}
    spelt_ = {
        beginning + (layer.replace(".", "_") if flat else layer) + key.removeprefix(layer): made[key]
        for key, layer in layer_of.items()
    }
    save_file(spelt_, tmp_path / "l.safetensors")
    assert recognise(tmp_path / "l.safetensors").adapter
    ours = deltas(loaded(name, tmp_path / "l.safetensors"))
    assert ours.keys() == meant.keys()
    for path, delta in ours.items():
        torch.testing.assert_close(delta, meant[path])


@pytest.mark.parametrize(("name", "beginning"), [("FluxPipeline", "lora_unet_"), ("Flux2Pipeline", "diffusion_model.")])
def test_a_lokr_of_joined_layers_is_shared_out(tmp_path: Path, name: str, beginning: str) -> None:
    flat = beginning.endswith("_")
    names = [f"double_blocks.{i}.{stream}_attn.qkv" for i in range(2) for stream in ("img", "txt")]
    made, meant = lokr({n.replace(".", "_") if flat else n: torch.Size((48, 16)) for n in names})
    save_file({beginning + key: weight for key, weight in made.items()}, tmp_path / "l.safetensors")
    ours = deltas(loaded(name, tmp_path / "l.safetensors"))
    assert len(ours) == 12
    for key, whole in meant.items():
        number, stream = next(int(c) for c in key if c.isdigit()), "img" if "img" in key else "txt"
        own = ("to_q", "to_k", "to_v") if stream == "img" else ("add_q_proj", "add_k_proj", "add_v_proj")
        for layer, rows in zip(own, whole.chunk(3), strict=True):
            torch.testing.assert_close(ours[f"transformer_blocks.{number}.attn.{layer}"], rows)


def fitted(pipe: Any, tensors: Tensors) -> dict[str, tuple[slice, ...]]:
    """Where the layers of a file are, with their rows of the file's weights, for a network without data."""
    forms, left, incomplete = adapter_forms.read(tensors)
    assert not left
    assert incomplete is None
    found = fit(pipe, forms)
    assert (found.problem, found.missing, found.unfit) == (None, (), ())
    return {layer: one.place.rows for (_, layer), one in found.placed.items()}


def meta_pairs(shapes: dict[str, tuple[int, int]], ends: tuple[str, str]) -> Tensors:
    """Factors without data of layers of the real widths."""
    return {
        layer + end: torch.empty(size, device="meta")
        for layer, (out, into) in shapes.items()
        for end, size in zip(ends, ((RANK, into), (out, RANK)), strict=True)
    }


def test_joined_layers_of_flux_are_shared_out_at_their_real_widths() -> None:
    pipe = network_alone(
        "FluxPipeline", device="meta", num_layers=1, num_single_layers=1, attention_head_dim=128, num_attention_heads=24
    )
    shapes = {
        "lora_unet_single_blocks_0_linear1": (3 * 3072 + 12288, 3072),
        "lora_unet_double_blocks_0_txt_attn_qkv": (3 * 3072, 3072),
        "lora_unet_final_layer_adaLN_modulation_1": (2 * 3072, 3072),
    }
    rows = fitted(pipe, meta_pairs(shapes, DOWN_UP))
    assert rows == {
        **{
            f"single_transformer_blocks.0.{layer}": (slice(start, stop),)
            for layer, start, stop in (
                ("attn.to_q", 0, 3072),
                ("attn.to_k", 3072, 6144),
                ("attn.to_v", 6144, 9216),
                ("proj_mlp", 9216, 21504),
            )
        },
        **{f"transformer_blocks.0.attn.add_{q}_proj": (slice(3072 * i, 3072 * (i + 1)),) for i, q in enumerate("qkv")},
        # Diffusers has the shift and the scale the other way round.
        "norm_out.linear": (slice(3072, 6144), slice(0, 3072)),
    }


def test_joined_layers_of_lumina_are_shared_out_at_their_real_widths() -> None:
    sizes = {
        "num_layers": 1,
        "num_refiner_layers": 1,
        "hidden_size": 2304,
        "num_attention_heads": 24,
        "num_kv_heads": 8,
    }
    pipe = network_alone("Lumina2Pipeline", device="meta", **sizes, multiple_of=256, axes_dim_rope=(32, 32, 32))
    inner = pipe.transformer.layers[0].feed_forward.linear_1.weight.shape[0]
    block = {
        "attention.qkv": (2304 + 2 * 768, 2304),
        "attention.out": (2304, 2304),
        **{f"feed_forward.w{i}": (2304, inner) if i == 2 else (inner, 2304) for i in (1, 2, 3)},
    }
    modulated = {**block, "adaLN_modulation.1": (4 * 2304, 1024)}
    blocks = {"noise_refiner.0": modulated, "context_refiner.0": block, "layers.0": modulated}
    shapes = {f"diffusion_model.{b}.{layer}": shape for b, own in blocks.items() for layer, shape in own.items()}
    rows = fitted(pipe, meta_pairs(shapes, AB))
    assert len(rows) == 3 * 7 + 2
    assert [rows[f"layers.0.attn.{q}"] for q in ("to_q", "to_k", "to_v")] == [
        (slice(0, 2304),),
        (slice(2304, 3072),),
        (slice(3072, 3840),),
    ]


@pytest.mark.parametrize("by", ["kohya", "ComfyUI", "whole checkpoints"])
@pytest.mark.parametrize("kind", ["lora", "lokr"])
def test_files_for_sdxl_have_the_names_of_the_original_code(tmp_path: Path, kind: str, by: str) -> None:
    pipe: Any = BUILDERS["sdxl"]()
    block = "transformer_blocks.0"
    places = {
        f"lora_unet_input_blocks_3_1_{block.replace('.', '_')}_attn1_to_q": (
            f"unet.down_blocks.1.attentions.0.{block}.attn1.to_q"
        ),
        f"lora_unet_middle_block_1_{block.replace('.', '_')}_ff_net_2": f"unet.mid_block.attentions.0.{block}.ff.net.2",
        "lora_unet_output_blocks_0_1_proj_in": "unet.up_blocks.0.attentions.0.proj_in",
        "lora_unet_input_blocks_1_0_in_layers_2": "unet.down_blocks.0.resnets.0.conv1",
        "lora_unet_time_embed_0": "unet.time_embedding.linear_1",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": "text_encoder.encoder.layers.0.self_attn.q_proj",
        "lora_te2_text_model_encoder_layers_1_mlp_fc1": "text_encoder_2.encoder.layers.1.mlp.fc1",
    }
    tensors: Tensors = {}
    for name, place in places.items():
        if by != "kohya":
            name = COMFYUI.get(name, name)
        if by == "whole checkpoints" and name.startswith("diffusion_model."):
            name = f"model.{name}"
        part, _, path = place.partition(".")
        shape = module_at(getattr(pipe, part), path).weight.shape
        up, down = torch.randn(shape[0], RANK), torch.randn(RANK, *shape[1:])
        tensors |= (
            {f"{name}.lora_up.weight": up.reshape(*up.shape, *(1 for _ in shape[2:])), f"{name}.lora_down.weight": down}
            if kind == "lora"
            else {
                f"{name}.lokr_w1": torch.randn(2, 2),
                f"{name}.lokr_w2": torch.randn(shape[0] // 2, shape[1] // 2, *shape[2:]),
            }
        )
    save_file(tensors, tmp_path / "l.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdapterWarning)
        loading.apply(pipe, loading.find([(str(tmp_path / "l.safetensors"), 1.0)], {}), with_scheduler=False)
    for place in places.values():
        part, _, path = place.partition(".")
        assert isinstance(module_at(getattr(pipe, part), path), BaseTunerLayer), place


def test_a_name_that_a_conversion_fails_for_does_not_hide_others() -> None:
    pipe = built("sdxl")
    layer = "lora_unet_input_blocks_{}_1_transformer_blocks_0_attn1_to_q"
    known = {layer.format(3): 64, "lora_unet_middle_block_1_proj_in": 64}
    unknown = {layer.format(99): 64, "lora_unet_nowhere": 4, "lora_unet_nowhere_3": 4, "other": 4}
    assert places(pipe, adaptable(pipe), known | unknown).keys() == known.keys()


COMFYUI = {
    "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q": (
        "diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_q"
    ),
    "lora_unet_middle_block_1_transformer_blocks_0_ff_net_2": (
        "diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2"
    ),
    "lora_unet_output_blocks_0_1_proj_in": "diffusion_model.output_blocks.0.1.proj_in",
    "lora_unet_input_blocks_1_0_in_layers_2": "diffusion_model.input_blocks.1.0.in_layers.2",
    "lora_unet_time_embed_0": "diffusion_model.time_embed.0",
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj"
    ),
    "lora_te2_text_model_encoder_layers_1_mlp_fc1": (
        "text_encoders.clip_g.transformer.text_model.encoder.layers.1.mlp.fc1"
    ),
}


def test_a_joined_lora_of_z_image_by_comfyui_is_shared_out(tmp_path: Path) -> None:
    layer = "diffusion_model.layers.0.attention.qkv"
    tensors = pairs({layer: torch.Size((48, 16))}, AB)
    save_file(tensors, tmp_path / "l.safetensors")
    ours = deltas(loaded("ZImagePipeline", tmp_path / "l.safetensors"))
    rows = (tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"]).chunk(3)
    assert len(ours) == 3
    for name, own in zip(("to_q", "to_k", "to_v"), rows, strict=True):
        torch.testing.assert_close(ours[f"layers.0.attention.{name}"], own)


def module_at(network: Any, path: str) -> Any:
    """A layer of a network; text encoders were once wrapped in one more module."""
    return network.get_submodule(
        path if not path.startswith("encoder.") or hasattr(network, "encoder") else f"text_model.{path}"
    )


def test_a_pipeline_that_takes_no_lora_says_so(tmp_path: Path) -> None:
    save_file(pairs({"transformer.a": torch.Size((4, 4))}, AB), tmp_path / "l.safetensors")
    pipe = diffusers.PixArtAlphaPipeline(*[None] * 5)
    found = loading.find([(str(tmp_path / "l.safetensors"), 1.0)], {})
    with pytest.raises(
        ModelError, match=r"a PixArtAlphaPipeline takes no LoRA: diffusers loads none into it; leave out"
    ):
        loading.apply(pipe, found, with_scheduler=False)
