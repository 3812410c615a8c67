"""Files for a network and its text encoders: what a pipeline's own call takes of them does the same here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from quick import slow_but
from renoise.errors import AdapterWarning
from renoise.loading import lora as loading
from tiny_pipelines import BUILDERS
from written import built, network_of

Tensors = dict[str, torch.Tensor]
RANK, ALPHA = 4, 2.0
ENCODER = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
NETWORK = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "to_add_out", "ff.net.2")
# The ends of factors' names.
KOHYA, PEFT = (".lora_down.weight", ".lora_up.weight"), (".lora_A.weight", ".lora_B.weight")
DOTTED = (".lora.down.weight", ".lora.up.weight")
OLDER = (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")
PROCESSOR = ("_lora.down.weight", "_lora.up.weight")


def pairs(shapes: dict[str, torch.Size], ends: tuple[str, str], alpha: float | None) -> Tensors:
    made: Tensors = {}
    for layer, (out, into) in shapes.items():
        made |= {layer + ends[0]: 0.1 * torch.randn(RANK, into), layer + ends[1]: 0.1 * torch.randn(out, RANK)}
        if alpha is not None:
            made[f"{layer}.alpha"] = torch.tensor(alpha)
    return made


def spelt(beginning: str, path: str) -> str:
    return beginning + (path.replace(".", "_") if beginning.endswith("_") else path)


def network(model: str, beginning: str, ends: tuple[str, str], alpha: float | None = None) -> Tensors:
    """Factors of the denoising network by diffusers' names."""
    modules = network_of(built(model)).named_modules()
    shapes = {path: module.weight.shape for path, module in modules if path.endswith(NETWORK)}
    if ends == PROCESSOR:
        shapes = {path.replace(".to_", ".processor.to_").replace("to_out.0", "to_out"): s for path, s in shapes.items()}
        shapes = {path: shape for path, shape in shapes.items() if "processor" in path}
    return pairs({spelt(beginning, path): shape for path, shape in shapes.items()}, ends, alpha)


def encoder(model: str, part: str, beginning: str, ends: tuple[str, str], alpha: float | None = None) -> Tensors:
    """Factors of a text encoder, by names with the module in which encoders were once wrapped."""
    modules = getattr(built(model), part).named_modules()
    shapes = {path.removeprefix("text_model."): m.weight.shape for path, m in modules if path.endswith(ENCODER)}
    return pairs({spelt(beginning, f"text_model.{path}"): shape for path, shape in shapes.items()}, ends, alpha)


def flux(beginning: str) -> Tensors:
    """Factors of Flux' transformer by the original's names."""
    width = built("flux-dev").transformer.inner_dim
    shapes = {"img_attn.qkv": (3 * width, width), "txt_attn.qkv": (3 * width, width), "img_attn.proj": (width, width)}
    named = {spelt(beginning, f"double_blocks.0.{layer}"): torch.Size(shape) for layer, shape in shapes.items()}
    return pairs(named, KOHYA, ALPHA)


def t5(beginning: str) -> Tensors:
    return pairs({spelt(beginning, "encoder.block.0.layer.0.SelfAttention.q"): torch.Size((16, 16))}, KOHYA, None)


TAKEN: dict[str, tuple[str, Callable[[], Tensors]]] = {
    "SD 1.5, kohya": (
        "sd15-ddim",
        lambda: (
            network("sd15-ddim", "lora_unet_", KOHYA, ALPHA)
            | encoder("sd15-ddim", "text_encoder", "lora_te_", KOHYA, 1.0)
        ),
    ),
    "SD 1.5, kohya, encoder alone": (
        "sd15-ddim",
        lambda: encoder("sd15-ddim", "text_encoder", "lora_te_", KOHYA, 1.0),
    ),
    "SD 1.5, diffusers, oldest": ("sd15-ddim", lambda: network("sd15-ddim", "unet.", PROCESSOR)),
    "SD 1.5, diffusers, older": (
        "sd15-ddim",
        lambda: network("sd15-ddim", "unet.", DOTTED) | encoder("sd15-ddim", "text_encoder", "text_encoder.", OLDER),
    ),
    "SDXL, kohya": (
        "sdxl",
        lambda: (
            network("sdxl", "lora_unet_", KOHYA, ALPHA)
            | encoder("sdxl", "text_encoder", "lora_te1_", KOHYA, 1.0)
            | encoder("sdxl", "text_encoder_2", "lora_te2_", KOHYA, 3.0)
        ),
    ),
    "SDXL, diffusers": (
        "sdxl",
        lambda: (
            network("sdxl", "unet.", PEFT)
            | encoder("sdxl", "text_encoder", "text_encoder.", PEFT)
            | encoder("sdxl", "text_encoder_2", "text_encoder_2.", PEFT)
        ),
    ),
    "SD3, diffusers": (
        "sd3",
        lambda: (
            network("sd3", "transformer.", PEFT)
            | encoder("sd3", "text_encoder", "text_encoder.", PEFT)
            | encoder("sd3", "text_encoder_2", "text_encoder_2.", PEFT)
        ),
    ),
    "FLUX.1, kohya": (
        "flux-dev",
        lambda: flux("lora_unet_") | encoder("flux-dev", "text_encoder", "lora_te1_", KOHYA, 1.0),
    ),
    "FLUX.1, ComfyUI": (
        "flux-dev",
        lambda: (
            flux("diffusion_model.")
            | encoder("flux-dev", "text_encoder", "text_encoders.clip_l.transformer.", KOHYA, 1.0)
        ),
    ),
    # Some conversions scale the file's own tensors.
    "FLUX.1, kohya, with T5": (
        "flux-dev",
        lambda: flux("lora_unet_") | encoder("flux-dev", "text_encoder", "lora_te1_", KOHYA, 1.0) | t5("lora_te3_"),
    ),
}


def weights(pipe: Any) -> Tensors:
    """The weights of everything that can be adapted, by their part and path."""
    parts = [name for name in pipe._lora_loadable_modules if pipe.components.get(name) is not None]
    return {
        f"{part}.{name.replace('.base_layer.', '.')}": weight
        for part in parts
        for name, weight in pipe.components[part].state_dict().items()
        if "lora_" not in name
    }


def fused(pipe: Any) -> Tensors:
    pipe.fuse_lora(components=[name for name in pipe._lora_loadable_modules if pipe.components.get(name) is not None])
    return weights(pipe)


def loaded(model: str, file: Path) -> Any:
    pipe = BUILDERS[model]()
    loading.apply(pipe, loading.find([(str(file), 1.0)], {}), with_scheduler=False)
    return pipe


@pytest.mark.parametrize("form", slow_but(("SD 1.5, kohya", "SDXL, diffusers", "FLUX.1, kohya, with T5"), TAKEN))
def test_what_a_pipeline_takes_makes_the_same_weights(tmp_path: Path, form: str) -> None:
    model, made = TAKEN[form]
    save_file(made(), tmp_path / "l.safetensors")
    theirs: Any = BUILDERS[model]()
    theirs.load_lora_weights(tmp_path, weight_name="l.safetensors", adapter_name="l")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if "T5" in form else "error", AdapterWarning)
        found = fused(loaded(model, tmp_path / "l.safetensors"))
    expected, plain = fused(theirs), weights(built(model))
    assert any(not torch.equal(weight, plain[name]) for name, weight in expected.items())
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5)


def test_a_t5_encoder_that_diffusers_does_not_adapt_is_told(tmp_path: Path) -> None:
    tensors = network("sd3", "lora_unet_", KOHYA, ALPHA) | t5("lora_te3_")
    save_file(tensors, tmp_path / "l.safetensors")
    layers = len(tensors) // 3
    with pytest.warns(AdapterWarning, match=rf"only {layers} of the {layers + 1} layers .*, and not lora_te3_encoder"):
        loaded("sd3", tmp_path / "l.safetensors")


# Files that no pipeline takes, though their names are clear.
OTHERS: dict[str, tuple[str, Callable[[], Tensors]]] = {
    "SD 1.5, diffusers, older, with alphas": ("sd15-ddim", lambda: network("sd15-ddim", "unet.", DOTTED, ALPHA)),
    "SDXL, PEFT's names with alphas": (
        "sdxl",
        lambda: (
            network("sdxl", "unet.", PEFT, ALPHA) | encoder("sdxl", "text_encoder_2", "text_encoder_2.", PEFT, ALPHA)
        ),
    ),
    "SD3, kohya": (
        "sd3",
        lambda: (
            network("sd3", "lora_unet_", KOHYA, ALPHA)
            | encoder("sd3", "text_encoder", "lora_te1_", KOHYA, ALPHA)
            | encoder("sd3", "text_encoder_2", "lora_te2_", KOHYA, ALPHA)
        ),
    ),
    "SD3, ComfyUI": (
        "sd3",
        lambda: (
            network("sd3", "diffusion_model.", KOHYA, ALPHA)
            | encoder("sd3", "text_encoder", "text_encoders.clip_l.transformer.", KOHYA, ALPHA)
            | encoder("sd3", "text_encoder_2", "text_encoders.clip_g.transformer.", KOHYA, ALPHA)
        ),
    ),
}


@pytest.mark.parametrize("form", slow_but(("SD3, kohya",), OTHERS))
def test_alphas_beside_other_names_count(tmp_path: Path, form: str) -> None:
    model, made = OTHERS[form]
    tensors = made()
    save_file(tensors, tmp_path / "l.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdapterWarning)
        found = fused(loaded(model, tmp_path / "l.safetensors"))
    plain = weights(built(model))
    changes = [found[name] - weight for name, weight in plain.items() if not torch.equal(found[name], weight)]
    layers = [name.removesuffix(".alpha") for name in tensors if name.endswith(".alpha")]
    down, up = next((d, u) for d, u in (KOHYA, PEFT, DOTTED) if layers[0] + d in tensors)
    meant = [ALPHA / RANK * tensors[layer + up] @ tensors[layer + down] for layer in layers]
    assert len(changes) == len(meant)
    for ours, theirs in zip(*(sorted(float(c.norm()) for c in some) for some in (changes, meant)), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
