"""Broken and hostile adapter files: one line each, and the pipeline is as it was."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file

from quick import slow_but
from renoise import ModelError
from renoise.errors import AdapterWarning
from renoise.loading import lora as loading
from tiny_pipelines import BUILDERS
from tiny_pipelines.networks import network_alone
from written import built

Tensors = dict[str, torch.Tensor]
Q = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
K = Q[:-1] + "k"
LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
WIDTH = 32
NAN, INF = float("nan"), float("inf")


def lora(layer: str = Q, width: int = WIDTH, out: int | None = None) -> Tensors:
    out = width if out is None else out
    return {f"{layer}.lora_down.weight": torch.ones(2, width), f"{layer}.lora_up.weight": torch.ones(out, 2)}


def loha(layer: str = Q, width: int = WIDTH, rank: int = 2) -> Tensors:
    sizes = {"a": (width, rank), "b": (rank, width)}
    return {f"{layer}.hada_w{i}_{side}": torch.ones(*size) for i in "12" for side, size in sizes.items()}


def lokr(layer: str = Q, **factors: tuple[int, ...]) -> Tensors:
    return {f"{layer}.lokr_{name}": torch.ones(*size) for name, size in factors.items()}


def alpha(value: float, layer: str = Q) -> Tensors:
    return {f"{layer}.alpha": torch.tensor(value)}


BROKEN: dict[str, tuple[str, Callable[[], Tensors]]] = {
    "NaN": ("not finite, in .*lora_up", lambda: lora() | {f"{Q}.lora_up.weight": torch.full((WIDTH, 2), NAN)}),
    "infinite": ("not finite", lambda: loha() | {f"{Q}.hada_w1_a": torch.full((WIDTH, 2), INF)}),
    "complex": ("holds complex numbers, in .*lora_down", lambda: {k: v.to(torch.complex64) for k, v in lora().items()}),
    "infinite alpha": ("not finite, in .*alpha", lambda: lora() | alpha(INF)),
    "NaN alpha of a LoHa": ("not finite", lambda: loha() | alpha(NAN)),
    "alpha of 0": ("alpha of 0 for every layer", lambda: lora() | alpha(0.0)),
    "alpha of several numbers": ("has 3 numbers for one", lambda: lora() | {f"{Q}.alpha": torch.ones(3)}),
    "empty alpha": ("has 0 numbers for one", lambda: lora() | {f"{Q}.alpha": torch.ones(0)}),
    "down alone": (
        "has .*lora_down.weight, but not .*lora_up.weight",
        lambda: {f"{Q}.lora_down.weight": torch.ones(2, 2)},
    ),
    "up alone": ("has .*lora_up.weight, but not", lambda: {f"{Q}.lora_up.weight": torch.ones(2, 2)}),
    "B alone": ("has .*lora_B", lambda: {"unet.mid_block.x.lora_B.weight": torch.ones(2, 2)}),
    "magnitudes alone": (
        "has .*lora_magnitude_vector, but not exactly two factors",
        lambda: {f"unet.{LAYER}.lora_magnitude_vector": torch.ones(WIDTH)},
    ),
    "factors by names that are not read": (
        "has .*lora_A.x.y.weight, but not exactly two factors",
        lambda: {f"unet.{LAYER}.lora_{f}.x.y.weight": torch.ones(2, WIDTH) for f in "AB"},
    ),
    "part of a LoHa": (f"the layer {Q} has no factors", lambda: {k: v for k, v in loha().items() if "w2_b" not in k}),
    "one half of a LoKr": ("has no factors", lambda: lokr(w1=(4, 4), w2_a=(8, 2))),
    "a LoKr without its first": ("has no factors", lambda: lokr(w2=(8, 8))),
    "a LoHa with one core": ("has no factors", lambda: loha() | {f"{Q}.hada_t1": torch.ones(2, 2, 3, 3)}),
    "LoHa and LoRA of one layer": ("has no factors", lambda: loha() | lora()),
    "an alpha alone": ("has no factors", lambda: loha() | alpha(1.0, K)),
    "vectors for factors": ("has no factors", lambda: {k: torch.ones(4) for k in loha()}),
    "numbers for factors": ("has no factors", lambda: {k: torch.tensor(1.0) for k in loha()}),
    "no rows": ("does not fit", lambda: lora(out=0)),
    "no rank": ("does not fit", lambda: {k: v[:0] if "down" in k else v[:, :0] for k, v in lora().items()}),
    "too wide": ("does not fit this model, a StableDiffusionPipeline", lambda: lora(width=64)),
    "a LoHa too wide": (
        r"does not fit .* \(64x2, 2x64, 64x2, 2x64\) is no change of a weight of 32x32",
        lambda: loha(width=64),
    ),
    "a LoHa whose ranks differ": ("does not fit", lambda: loha() | {f"{Q}.hada_w1_b": torch.ones(3, WIDTH)}),
    "a LoKr of another size": ("does not fit", lambda: lokr(w1=(4, 4), w2=(8, 7))),
    "a LoKr that does not divide": ("does not fit", lambda: lokr(w1=(5, 4), w2=(7, 8))),
    "an empty LoKr": ("does not fit", lambda: lokr(w1=(0, 4), w2=(8, 8))),
    "a huge LoKr": ("does not fit", lambda: lokr(w1=(2000, 2000), w2=(2000, 2000))),
    "a LoKr of a million million rows": (
        "has no weights for this model",
        lambda: lokr("lora_unet_nowhere", w1=(1_000_000, 1), w2=(1_000_000, 1)),
    ),
    "a huge LoHa": ("does not fit", lambda: loha(width=1_000_000)),
    "a full difference of another size": ("does not fit", lambda: {f"{Q}.diff": torch.ones(31, WIDTH)}),
    "a bias of another size": ("does not fit", lambda: {f"{Q}.diff_b": torch.ones(31)}),
    "one layer twice": (
        "two changes for the layer mid_block",
        lambda: loha() | loha("unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"),
    ),
    "no layer": ("has no weights for this model", lambda: loha("lora_unet_nowhere")),
    "the end of many layers' names": (
        "has no weights for this model, .*, but such as unet.to_q.lora_A.weight",
        lambda: {f"unet.to_q.lora_{f}.weight": torch.ones(*s) for f, s in (("A", (2, WIDTH)), ("B", (WIDTH, 2)))},
    ),
    "a name without end": ("has no weights .*, but such as lora_unet_x+…x+", lambda: lora("lora_unet_" + "x" * 9000)),
    "a text encoder that does not fit": ("does not fit", lambda: loha() | loha(TEXT, width=7)),
    "a LoRA whose text encoder does not fit": ("does not fit", lambda: lora() | lora(TEXT, width=7)),
    "a DoRA whose magnitudes do not fit": (
        "1 of its 2 magnitudes fit no layer",
        lambda: loha() | loha(K) | {f"{Q}.dora_scale": torch.ones(1, WIDTH), f"{K}.dora_scale": torch.ones(1, 5)},
    ),
}


def state(pipe: Any) -> dict[str, Any]:
    networks = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    weights = {f"{name}.{key}": w.clone() for name, part in networks.items() for key, w in part.state_dict().items()}
    kinds = {f"{name}.{key}": type(m) for name, part in networks.items() for key, m in part.named_modules()}
    configs = {
        name: dict(getattr(part, "config", {}) or {}) if name in ("unet", "transformer") else {}
        for name, part in networks.items()
    }
    return {"weights": weights, "kinds": kinds, "configs": copy.deepcopy(configs)}


def require_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before["kinds"] == after["kinds"]
    assert before["configs"] == after["configs"]
    assert before["weights"].keys() == after["weights"].keys()
    assert all(torch.equal(w, after["weights"][key]) for key, w in before["weights"].items())


def refused(pipe: Any, words: str, *files: Path) -> str:
    before = state(pipe)
    with pytest.raises(ModelError, match=words) as caught:
        loading.apply(pipe, loading.find([(str(file), 1.0) for file in files], {}), with_scheduler=False)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    require_same(before, state(pipe))
    return str(caught.value)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_leaves_the_pipeline_as_it_was(tmp_path: Path, fault: str) -> None:
    words, made = BROKEN[fault]
    save_file(made(), tmp_path / "l.safetensors")
    refused(built("sd15-ddim"), words, tmp_path / "l.safetensors")


def test_what_came_before_a_broken_file_is_taken_off_again(tmp_path: Path) -> None:
    save_file(
        loha(),
        tmp_path / "good.safetensors",
    )
    save_file(lokr(w1=(4, 4), w2=(8, 7)), tmp_path / "bad.safetensors")
    refused(BUILDERS["sd15-ddim"](), "does not fit", tmp_path / "good.safetensors", tmp_path / "bad.safetensors")


def test_some_alphas_of_0_are_told(tmp_path: Path) -> None:
    save_file(lora() | alpha(0.0) | lora(K) | alpha(2.0, K), tmp_path / "l.safetensors")
    pipe = BUILDERS["sd15-ddim"]()
    with pytest.warns(AdapterWarning, match=rf"not everything is used: 1 alphas are 0, such as {Q}"):
        loading.apply(pipe, loading.find([(str(tmp_path / "l.safetensors"), 1.0)], {}), with_scheduler=False)
    changes = {n: m.get_delta_weight("l") for n, m in pipe.unet.named_modules() if isinstance(m, BaseTunerLayer)}
    assert {name[-4:]: bool(change.any()) for name, change in changes.items()} == {"to_q": False, "to_k": True}


def test_many_unknown_names_are_refused_in_time(tmp_path: Path) -> None:
    # Each conversion takes as long as the file has layers: it cannot be asked about each of them.
    tensors = {k: v for i in range(3000) for k, v in lora(f"lora_unet_nowhere_{i}", width=1).items()}
    save_file(tensors, tmp_path / "l.safetensors")
    refused(network_alone("Flux2Pipeline"), "has no weights for this model", tmp_path / "l.safetensors")


@pytest.mark.parametrize("size", slow_but(("wide",), ("wide", "tall")))
def test_a_lora_never_enlarges_a_layer(tmp_path: Path, size: str) -> None:
    pipe = network_alone("FluxPipeline")
    down, up = (20, 16) if size == "wide" else (4, 40)
    factors = {"lora_A.weight": torch.ones(2, down), "lora_B.weight": torch.ones(up, 2)}
    save_file({f"transformer.x_embedder.{k}": v for k, v in factors.items()}, tmp_path / "l.safetensors")
    refused(pipe, "too large for a weight of 16x4", tmp_path / "l.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        {"lora_adapter_metadata": "{no json"},
        {"lora_adapter_metadata": "[1, 2]"},
        {"lora_adapter_metadata": json.dumps({"r": "four"})},
        {"lora_adapter_metadata": json.dumps({"r": 2, "lora_alpha": [1]})},
    ],
)
def test_settings_in_the_header_that_make_no_sense(tmp_path: Path, header: dict[str, str]) -> None:
    layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{layer}.lora_A.weight": torch.ones(2, WIDTH), f"{layer}.lora_B.weight": torch.ones(WIDTH, 2)}
    save_file(tensors, tmp_path / "l.safetensors", header)
    refused(built("sd15-ddim"), "header|settings|does not fit", tmp_path / "l.safetensors")
    tensors = {f"unet.{name}": tensor for name, tensor in tensors.items()}
    whole = {key: value.replace('"', '"unet.', 1) for key, value in header.items()}
    save_file(tensors, tmp_path / "l.safetensors", whole)
    refused(built("sd15-ddim"), "header|settings|does not fit", tmp_path / "l.safetensors")


@pytest.mark.parametrize("key", ["modelspec.architecture", "ss_base_model_version"])
@pytest.mark.parametrize("made", [lambda: lora(width=64), lambda: loha(width=64), lambda: lora("lora_unet_nowhere")])
def test_the_base_model_that_a_file_names_is_told(tmp_path: Path, key: str, made: Callable[[], Tensors]) -> None:
    save_file(made(), tmp_path / "l.safetensors", {key: "stable-diffusion-xl-v1-base/lora\x1b[31m"})
    told = refused(built("sd15-ddim"), "LoRA", tmp_path / "l.safetensors")
    assert "a StableDiffusionPipeline" in told
    assert "the LoRA's own base model, which its file calls 'stable-diffusion-xl-v1-base/lora\\x1b[31m'" in told
