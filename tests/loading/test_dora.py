"""DoRA in kohya's and LyCORIS' files: the weights in force are those of its formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from renoise import Editor, ModelError
from renoise.fingerprint import fingerprint, same_model
from tiny_pipelines import BUILDERS
from written import folder_of

ALPHA, RANK = 2.0, 4


def layers_of(pipe: Any) -> dict[str, Any]:
    """Linear layers and convolutions, by kohya's names."""
    unet = {
        "lora_unet_" + name.replace(".", "_"): module
        for name, module in pipe.unet.named_modules()
        if name.endswith(("to_q", "to_out.0", "ff.net.2", "conv1", "proj_in"))
    }
    text = {
        "lora_te_text_model_" + name.replace(".", "_"): module
        for name, module in pipe.text_encoder.named_modules()
        if name.endswith(("q_proj", "k_proj", "v_proj", "out_proj"))
    }
    return unet | text


def written(path: Path, by: str, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Write a DoRA with norms of input or output channels; return the weights that it means, by kohya's names."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return 0.2 * torch.randn(shape, generator=generator)

    tensors: dict[str, torch.Tensor] = {}
    meant: dict[str, torch.Tensor] = {}
    for name, module in layers_of(BUILDERS["sd15-ddim"]()).items():
        weight = module.weight.detach()
        out, into, *size = weight.shape
        down, up = drawn(RANK, into, *size), drawn(out, RANK, *(1 for _ in size))
        kept = 1 if by == "input" else 0
        others = [d for d in range(weight.ndim) if d != kept]
        scale = torch.linalg.vector_norm(weight, dim=others, keepdim=True) * (1.0 + drawn(1).item())
        change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * ALPHA / RANK
        meant[name] = (weight + change) * scale / torch.linalg.vector_norm(weight + change, dim=others, keepdim=True)
        tensors |= {
            f"{name}.lora_down.weight": down,
            f"{name}.lora_up.weight": up,
            f"{name}.alpha": torch.tensor(ALPHA),
        }
        tensors[f"{name}.dora_scale"] = scale.flatten() if by == "output, as a vector" else scale
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return meant


def loaded(tiny: Path, *lora: Any) -> Any:
    return Editor.from_pretrained(folder_of("sd15-ddim", tiny), device="cpu", lora=list(lora)).pipe


def in_force(layer: Any) -> torch.Tensor:
    """The weight of a layer as it computes, from what it makes of an input of ones at each place in turn."""
    weight = layer.get_base_layer().weight
    bias = layer.get_base_layer().bias
    with torch.no_grad():
        if weight.ndim == 2:
            out: torch.Tensor = layer(torch.eye(weight.shape[1])) - (0.0 if bias is None else bias)
            return out.T
        middle = torch.zeros(weight.shape[1], weight.shape[1], 5, 5)
        middle[range(len(middle)), range(len(middle)), 2, 2] = 1.0
        out = layer(middle) - (0.0 if bias is None else bias.reshape(1, -1, 1, 1))
        side = weight.shape[-1] // 2
        # A convolution is a correlation: the impulse response is the kernel turned round.
        return out[:, :, 2 - side : 3 + side, 2 - side : 3 + side].flip(-1, -2).transpose(0, 1)


@pytest.mark.parametrize(
    ("by", "strength"),
    [("input", 1.0), ("input", -0.5), ("output", 1.0), ("output", 0.6), ("output", 0.0), ("output, as a vector", 1.0)],
)
def test_the_weights_in_force_are_those_of_the_formula(tiny: Path, tmp_path: Path, by: str, strength: float) -> None:
    meant = written(tmp_path / "d.safetensors", by)
    own = layers_of(BUILDERS["sd15-ddim"]())
    for name, layer in layers_of(loaded(tiny, (tmp_path / "d.safetensors", strength))).items():
        weight = own[name].weight
        expected = weight + strength * (meant[name] - weight)
        torch.testing.assert_close(in_force(layer), expected, rtol=1e-4, atol=1e-5)
        whole = layer.get_base_layer().weight + layer.get_delta_weight(layer.active_adapters[0])
        torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-5)


def test_magnitudes_are_in_force_in_half_precision(tiny: Path, tmp_path: Path) -> None:
    meant = written(tmp_path / "d.safetensors", "input")
    lora = tmp_path / "d.safetensors"
    pipe = Editor.from_pretrained(folder_of("sd15-ddim", tiny), device="cpu", dtype="bfloat16", lora=lora).pipe
    for name, layer in layers_of(pipe).items():
        x = torch.randn(2, meant[name].shape[1], *(3 for _ in meant[name].shape[2:]), dtype=torch.bfloat16)
        with torch.no_grad():
            made = layer(x).float()
            bias = None if layer.get_base_layer().bias is None else layer.get_base_layer().bias.float()
            if meant[name].ndim == 2:
                expected = torch.nn.functional.linear(x.float(), meant[name], bias)
            else:
                expected = torch.nn.functional.conv2d(x.float(), meant[name], bias, padding=meant[name].shape[-1] // 2)
        assert float((made - expected).norm() / expected.norm()) < 0.03


def test_magnitudes_join_other_loras_and_can_be_fused(tiny: Path, tmp_path: Path) -> None:
    written(tmp_path / "a.safetensors", "input")
    written(tmp_path / "b.safetensors", "output", seed=1)
    pipe = loaded(tiny, (tmp_path / "a.safetensors", 0.5), tmp_path / "b.safetensors")
    layers = {name: layer for name, layer in layers_of(pipe).items() if "lora_unet" in name}
    apart = {name: in_force(layer) for name, layer in layers.items()}
    before = {name: layer.get_base_layer().weight.clone() for name, layer in layers.items()}
    pipe.fuse_lora()
    for name, layer in layers.items():
        assert not torch.allclose(layer.get_base_layer().weight, before[name], atol=1e-3)
    pipe.unfuse_lora()
    for name, layer in layers.items():
        torch.testing.assert_close(layer.get_base_layer().weight, before[name], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(in_force(layer), apart[name], rtol=1e-3, atol=1e-4)


def test_a_dora_is_another_model_than_its_lora(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    written(tmp_path / "d.safetensors", "input")
    tensors = load_file(tmp_path / "d.safetensors")
    save_file({k: v for k, v in tensors.items() if "dora" not in k}, tmp_path / "plain.safetensors")
    other = {k: 1.05 * v if "dora" in k else v for k, v in tensors.items()}
    save_file(other, tmp_path / "other.safetensors")
    prints = [fingerprint(loaded(tiny, tmp_path / f"{name}.safetensors")) for name in ("d", "plain", "other", "d")]
    assert same_model(prints[0], prints[3])
    assert not same_model(prints[0], prints[1])
    assert not same_model(prints[0], prints[2])


@pytest.mark.parametrize("fault", ["shape", "factors"])
def test_magnitudes_that_fit_no_layer_are_refused(tiny: Path, tmp_path: Path, fault: str) -> None:
    from safetensors.torch import load_file

    written(tmp_path / "d.safetensors", "input")
    tensors = load_file(tmp_path / "d.safetensors")
    name = next(name for name in tensors if name.endswith(".dora_scale"))
    if fault == "shape":
        tensors[name] = torch.ones(1, 3)
    else:
        tensors["lora_unet_nowhere.dora_scale"] = torch.ones(1, 16)
    save_file(tensors, tmp_path / "d.safetensors")
    with pytest.raises(ModelError, match=r"is a DoRA, and 1 of its \d+ magnitudes fit no|nowhere has no factors"):
        loaded(tiny, tmp_path / "d.safetensors")
