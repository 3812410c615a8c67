"""LoHa, LoKr, Tucker's LoCon and full differences: the weights in force are those of their formulas."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import accelerate  # type: ignore[import-untyped]
import pytest
import torch
from peft import LoHaConfig, LoKrConfig, get_peft_model
from safetensors.torch import load_file, save_file

from quick import slow_but
from renoise import Editor, InversionConfig, ModelError
from renoise.errors import AdapterWarning
from renoise.fingerprint import fingerprint, same_model
from renoise.loading import lora as loading
from tiny_pipelines import BUILDERS
from written import built

Tensors = dict[str, torch.Tensor]
# What a file holds of a layer, and the change that it means.
Made = tuple[Tensors, torch.Tensor]
RANK, ALPHA = 2, 3.0
ENDS = ("to_q", "to_out.0", "ff.net.2", "conv1", "proj_in")


def drawn(*shape: int) -> torch.Tensor:
    return 0.3 * torch.randn(shape)


def loha(shape: torch.Size) -> Made:
    """Two low-rank products, multiplied element by element."""
    out, columns = shape[0], shape[1:].numel()
    f = {f"hada_w{i}_{s}": drawn(*size) for i in "12" for s, size in (("a", (out, RANK)), ("b", (RANK, columns)))}
    meant = torch.empty(out, columns)
    for i in range(out):
        meant[i] = (f["hada_w1_a"][i] @ f["hada_w1_b"]) * (f["hada_w2_a"][i] @ f["hada_w2_b"])
    return {**f, "alpha": torch.tensor(ALPHA)}, (ALPHA / RANK * meant).reshape(shape)


def loha_tucker(shape: torch.Size) -> Made:
    out, into, *sides = shape
    f = {f"hada_w{i}_{s}": drawn(RANK, n) for i in "12" for s, n in (("a", out), ("b", into))}
    f |= {f"hada_t{i}": drawn(RANK, RANK, *sides) for i in "12"}
    halves = [tucker(f[f"hada_w{i}_a"], f[f"hada_t{i}"], f[f"hada_w{i}_b"]) for i in "12"]
    return {**f, "alpha": torch.tensor(ALPHA)}, ALPHA / RANK * halves[0] * halves[1]


def tucker(outer: torch.Tensor, core: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """The sum over p and q of outer[p] core[p, q] inner[q]."""
    made = torch.zeros(outer.shape[1], inner.shape[1], *core.shape[2:])
    for p in range(core.shape[0]):
        for q in range(core.shape[1]):
            made += outer[p][:, None, None, None] * core[p, q][None, None] * inner[q][None, :, None, None]
    return made


def kronecker(w1: torch.Tensor, w2: torch.Tensor) -> torch.Tensor:
    """Each number of w1 times the whole of w2, block by block."""
    return torch.cat([torch.cat([number * w2 for number in row], dim=1) for row in w1], dim=0)


def lokr(shape: torch.Size, *, first_whole: bool = True, second: str = "halves") -> Made:
    out, into, *sides = shape
    a, c = 4, 2
    b, d = out // a, into // c
    f: Tensors = {"lokr_w1": drawn(a, c)} if first_whole else {"lokr_w1_a": drawn(a, RANK), "lokr_w1_b": drawn(RANK, c)}
    w1 = f["lokr_w1"] if first_whole else f["lokr_w1_a"] @ f["lokr_w1_b"]
    if second == "whole":
        f["lokr_w2"] = w2 = drawn(b, d, *sides)
    elif second == "tucker":
        f |= {"lokr_w2_a": drawn(RANK, b), "lokr_w2_b": drawn(RANK, d), "lokr_t2": drawn(RANK, RANK, *sides)}
        w2 = tucker(f["lokr_w2_a"], f["lokr_t2"], f["lokr_w2_b"])
    else:
        f |= {"lokr_w2_a": drawn(b, RANK), "lokr_w2_b": drawn(RANK, d * torch.Size(sides).numel())}
        w2 = (f["lokr_w2_a"] @ f["lokr_w2_b"]).reshape(b, d, *sides)
    # Two whole factors are not scaled, whatever alpha says.
    scale = 1.0 if first_whole and second == "whole" else ALPHA / RANK
    return {**f, "alpha": torch.tensor(ALPHA)}, scale * kronecker(w1, w2)


def locon_tucker(shape: torch.Size) -> Made:
    out, into, *sides = shape
    up, core, down = drawn(out, RANK), drawn(RANK, RANK, *sides), drawn(RANK, into)
    f = {"lora_up.weight": up[..., None, None], "lora_mid.weight": core, "lora_down.weight": down[..., None, None]}
    return {**f, "alpha": torch.tensor(ALPHA)}, ALPHA / RANK * tucker(up.T.contiguous(), core, down)


def lora(shape: torch.Size) -> Made:
    out, into, *sides = shape
    up, down = drawn(out, RANK), drawn(RANK, into, *sides)
    f = {"lora_up.weight": up.reshape(out, RANK, *(1 for _ in sides)), "lora_down.weight": down}
    return {**f, "alpha": torch.tensor(ALPHA)}, ALPHA / RANK * (up @ down.flatten(1)).reshape(shape)


def full(shape: torch.Size) -> Made:
    change = drawn(*shape)
    return {"diff": change}, change


def of_one_pixel(form: Callable[[torch.Size], Made]) -> Callable[[torch.Size], Made]:
    """The same, with whole factors of linear layers as those of convolutions of one pixel."""

    def made(shape: torch.Size) -> Made:
        held, meant = form(shape)
        pixel = {"lokr_w2", "diff"} if len(shape) == 2 else set()
        return {name: tensor[..., None, None] if name in pixel else tensor for name, tensor in held.items()}, meant

    return made


def only_convolutions(tuckers: Callable[[torch.Size], Made], others: Callable[[torch.Size], Made]) -> Any:
    return lambda shape: tuckers(shape) if len(shape) == 4 and shape[2] > 1 else others(shape)


FORMS: dict[str, Callable[[torch.Size], Made]] = {
    "LoHa": loha,
    "LoHa, Tucker": only_convolutions(loha_tucker, loha),
    "LoKr": lokr,
    "LoKr, both in halves": lambda shape: lokr(shape, first_whole=False),
    "LoKr, whole": lambda shape: lokr(shape, second="whole"),
    "LoKr, Tucker": only_convolutions(lambda shape: lokr(shape, second="tucker"), lokr),
    "LoCon, Tucker": only_convolutions(locon_tucker, lora),
    "LoKr, of one pixel": of_one_pixel(lambda shape: lokr(shape, second="whole")),
    "full differences": full,
    "full differences, of one pixel": of_one_pixel(full),
}


def layers_of(pipe: Any, ends: tuple[str, ...] = ENDS) -> Iterator[tuple[str, str, Any]]:
    """Kohya's name, the part and the layer, for layers of the network and of the text encoder."""
    for name, module in pipe.unet.named_modules():
        if name.endswith(ends):
            yield "lora_unet_" + name.replace(".", "_"), f"unet.{name}", module
    for name, module in pipe.text_encoder.named_modules():
        if name.endswith(("q_proj", "fc1")):
            yield "lora_te_text_model_" + name.replace(".", "_"), f"text_encoder.{name}", module


def written(path: Path, form: Callable[[torch.Size], Made], *, seed: int = 0, dtype: Any = None) -> Tensors:
    """Write a file for the layers of `layers_of`, and return the changes that it means, by their paths."""
    tensors: Tensors = {}
    meant: Tensors = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, place, module in layers_of(built("sd15-ddim")):
            held, meant[place] = form(module.weight.shape)
            tensors |= {f"{name}.{end}": tensor.to(dtype or tensor.dtype) for end, tensor in held.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return meant


def loaded(*lora: Any, dtype: torch.dtype = torch.float32) -> Any:
    pipe = BUILDERS["sd15-ddim"]().to(dtype)
    asked = [one if isinstance(one, tuple) else (one, 1.0) for one in lora]
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdapterWarning)
        loading.apply(pipe, loading.find([(str(file), s) for file, s in asked], {}), with_scheduler=False)
    return pipe


def outputs(pipe: Any, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network and the text encoder return."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        z, text = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 16)
        return pipe.unet(z.to(dtype), 500, text.to(dtype)).sample, pipe.text_encoder(torch.arange(6)[None])[0]


def changed(*changes: tuple[float, Tensors]) -> Any:
    """The pipeline with changes added to its weights themselves."""
    pipe: Any = BUILDERS["sd15-ddim"]()
    for strength, meant in changes:
        for place, change in meant.items():
            part, _, name = place.partition(".")
            getattr(pipe, part).get_submodule(name).weight.data += strength * change
    return pipe


@pytest.mark.parametrize("form", slow_but(("LoHa", "LoKr, Tucker", "full differences"), FORMS))
def test_the_network_computes_with_the_weights_that_the_formula_means(tmp_path: Path, form: str) -> None:
    meant = written(tmp_path / "l.safetensors", FORMS[form])
    for strength in (1.0, 0.7, -0.5):
        made = outputs(loaded((tmp_path / "l.safetensors", strength)))
        expected = outputs(changed((strength, meant)))
        for ours, theirs, plain in zip(made, expected, outputs(changed()), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
            assert float((theirs - plain).norm() / plain.norm()) > 1e-2


def test_they_join_loras_and_one_another(tmp_path: Path) -> None:
    kinds = {"lora": lora, "loha": loha, "lokr": lokr, "full": full}
    strengths = {"lora": 0.5, "loha": 1.0, "lokr": -0.4, "full": 0.3}
    meant = {
        name: written(tmp_path / f"{name}.safetensors", form, seed=i) for i, (name, form) in enumerate(kinds.items())
    }
    for order in (list(kinds), list(kinds)[::-1]):
        made = outputs(loaded(*((tmp_path / f"{name}.safetensors", strengths[name]) for name in order)))
        for ours, theirs in zip(made, outputs(changed(*((strengths[n], meant[n]) for n in order))), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form", slow_but(("LoKr",), ("LoHa, Tucker", "LoKr", "full differences")))
def test_they_can_be_fused_and_unloaded(tmp_path: Path, form: str) -> None:
    meant = written(tmp_path / "l.safetensors", FORMS[form])
    pipe = loaded(tmp_path / "l.safetensors")
    pipe.fuse_lora()
    for ours, theirs in zip(outputs(pipe), outputs(changed((1.0, meant))), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    for ours, theirs in zip(outputs(pipe), outputs(changed()), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", slow_but(("LoHa",), ("LoHa", "LoKr, whole")))
def test_they_are_in_force_in_half_precision(tmp_path: Path, form: str, precision: torch.dtype) -> None:
    meant = written(tmp_path / "l.safetensors", FORMS[form], dtype=precision)
    made = outputs(loaded(tmp_path / "l.safetensors", dtype=precision), precision)
    for ours, theirs in zip(made, outputs(changed((1.0, meant))), strict=True):
        assert ours.dtype == precision
        assert float((ours.float() - theirs).norm() / theirs.norm()) < 0.03


def test_a_fingerprint_tells_them_apart(tmp_path: Path) -> None:
    file, stronger = tmp_path / "l.safetensors", tmp_path / "m.safetensors"
    written(file, loha)
    save_file({k: 1.1 * v if "hada_w2_a" in k else v for k, v in load_file(file).items()}, stronger)
    prints = [fingerprint(loaded(one)) for one in (file, file, (file, 0.9), stronger)]
    assert same_model(prints[0], prints[1])
    assert not any(same_model(prints[0], other) for other in prints[2:])
    assert same_model(prints[0], fingerprint(loaded(file, dtype=torch.bfloat16)))
    assert not same_model(prints[0], fingerprint(changed()))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", ["LOHA", "LOKR"])
def test_pefts_own_files_do_what_peft_does(tmp_path: Path, kind: str, whole: bool) -> None:
    targets = ["to_q", "to_out.0", "conv1", "proj_in"]
    common: dict[str, Any] = {"alpha": 5, "target_modules": targets, "init_weights": False}
    # In layers as narrow as these a large rank makes PEFT keep whole factors, which it scales all the same.
    common |= {"r": 16, "rank_pattern": {"to_q": 12}} if whole else {"r": 2, "alpha_pattern": {"conv1": 3}}
    config: Any = LoHaConfig(**common) if kind == "LOHA" else LoKrConfig(**common, decompose_both=not whole)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs: Any = get_peft_model(BUILDERS["sd15-ddim"]().unet, config)
    theirs.save_pretrained(str(tmp_path / "p"))
    pipe = loaded(tmp_path / "p")
    made, plain = outputs(pipe)[0], outputs(built("sd15-ddim"))[0]
    pipe.unet = theirs.base_model.model
    torch.testing.assert_close(made, outputs(pipe)[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(made, plain, atol=1e-3)


def test_pefts_own_files_need_their_settings(tmp_path: Path) -> None:
    theirs: Any = get_peft_model(BUILDERS["sd15-ddim"]().unet, LoHaConfig(r=2, target_modules=["to_q"]))
    theirs.save_pretrained(str(tmp_path))
    settings = tmp_path / "adapter_config.json"
    for changes in (
        {"r": 0},
        {"alpha": "much"},
        {"alpha_pattern": [1]},
        {"rank_pattern": {"to_q": "x"}},
        {"peft_type": "LORA"},
    ):
        settings_before = settings.read_text()
        settings.write_text(json.dumps(json.loads(settings_before) | changes))
        with pytest.raises(ModelError, match=r"settings of .* are not those of a LoRA"):
            loaded(tmp_path)
        settings.write_text(settings_before)
    settings.unlink()
    with pytest.raises(ModelError, match=r"has no adapter_config.json beside it"):
        loaded(tmp_path)


@pytest.mark.parametrize("by", ["input", "output"])
@pytest.mark.parametrize("form", slow_but(("LoKr",), ("LoHa", "LoKr", "LoCon, Tucker", "full differences")))
def test_their_magnitudes_are_in_force(tmp_path: Path, form: str, by: str) -> None:
    meant = written(tmp_path / "l.safetensors", FORMS[form])
    tensors = load_file(tmp_path / "l.safetensors")
    for name, place, module in layers_of(built("sd15-ddim")):
        weight = module.weight.detach()
        others = [d for d in range(weight.ndim) if d != (1 if by == "input" else 0)]
        scale = 1.3 * torch.linalg.vector_norm(weight, dim=others, keepdim=True)
        tensors[f"{name}.dora_scale"] = scale
        sum_ = weight + meant[place]
        meant[place] = sum_ * scale / torch.linalg.vector_norm(sum_, dim=others, keepdim=True) - weight
    # The change of a bias is added as it is.
    bias = torch.linspace(-1.0, 1.0, 32)
    tensors["lora_unet_mid_block_attentions_0_proj_in.diff_b"] = bias
    save_file(tensors, tmp_path / "l.safetensors")
    for strength in (1.0, -0.5):
        made = outputs(loaded((tmp_path / "l.safetensors", strength)))
        expected = changed((strength, meant))
        expected.unet.mid_block.attentions[0].proj_in.bias.data += strength * bias
        for ours, theirs in zip(made, outputs(expected), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_biases_are_changed_too_and_norms_are_told(tmp_path: Path) -> None:
    layer = "mid_block.attentions.0.proj_in"
    name = "lora_unet_" + layer.replace(".", "_")
    norm = "lora_unet_mid_block_attentions_0_norm"
    weight, bias = built("sd15-ddim").unet.get_submodule(layer).weight, drawn(32)
    held, change = loha(weight.shape)
    tensors = {f"{name}.{end}": tensor for end, tensor in held.items()} | {f"{name}.diff_b": bias}
    # A change of 0, as tools write for layers that they did not train, is nothing to be told of.
    tensors |= {f"{norm}.w_norm": torch.zeros(32), f"{norm}.b_norm": torch.zeros(32)}
    save_file(tensors, tmp_path / "l.safetensors")
    pipe: Any = changed((0.5, {f"unet.{layer}": change}))
    pipe.unet.get_submodule(layer).bias.data += 0.5 * bias
    adapted = loaded((tmp_path / "l.safetensors", 0.5))
    torch.testing.assert_close(outputs(adapted)[0], outputs(pipe)[0], rtol=1e-4, atol=1e-5)
    adapted.fuse_lora()
    torch.testing.assert_close(outputs(adapted)[0], outputs(pipe)[0], rtol=1e-4, atol=1e-5)
    save_file(tensors | {f"{norm}.w_norm": torch.ones(32)}, tmp_path / "l.safetensors")
    with pytest.raises(
        AdapterWarning, match=r"not everything is used: 1 changes are of norms and the like.*attentions_0_norm"
    ):
        loaded(tmp_path / "l.safetensors")


def test_a_bias_alone_is_changed(tmp_path: Path) -> None:
    save_file({"lora_unet_mid_block_attentions_0_proj_in.diff_b": torch.ones(32)}, tmp_path / "l.safetensors")
    pipe: Any = changed()
    pipe.unet.mid_block.attentions[0].proj_in.bias.data += 1.0
    torch.testing.assert_close(outputs(loaded(tmp_path / "l.safetensors"))[0], outputs(pipe)[0], rtol=1e-4, atol=1e-5)
    other = tmp_path / "m.safetensors"
    save_file({"lora_unet_mid_block_attentions_0_proj_in.diff_b": 2 * torch.ones(32)}, other)
    one, two = (fingerprint(loaded(file)) for file in (tmp_path / "l.safetensors", other))
    assert not same_model(one, two)


def test_an_inversion_needs_the_lokr_with_which_it_was_made(tmp_path: Path) -> None:
    written(tmp_path / "l.safetensors", lokr)
    adapted, plain = Editor(loaded(tmp_path / "l.safetensors")), Editor(BUILDERS["sd15-ddim"]())
    inversion = adapted.invert(latents=torch.zeros(1, 4, 8, 8), prompt="a cat", config=InversionConfig(num_steps=2))
    adapted.edit(inversion, "a dog")
    with pytest.raises(ModelError, match="adapters"):
        plain.edit(inversion, "a dog")


@pytest.mark.parametrize("form", slow_but(("LoHa",), ("LoHa", "LoKr, Tucker", "LoCon, Tucker")))
@pytest.mark.parametrize("decomposed", [False, True])
def test_they_work_while_weights_are_kept_elsewhere(tmp_path: Path, form: str, decomposed: bool) -> None:
    written(tmp_path / "l.safetensors", FORMS[form])
    tensors = load_file(tmp_path / "l.safetensors")
    tensors["lora_unet_mid_block_attentions_0_proj_in.diff_b"] = torch.ones(32)
    if decomposed:
        for name, _, module in layers_of(built("sd15-ddim")):
            tensors[f"{name}.dora_scale"] = torch.ones(module.weight.shape[0])
    save_file(tensors, tmp_path / "l.safetensors")
    pipe = loaded((tmp_path / "l.safetensors", 0.7))
    expected = outputs(pipe)
    for network in (pipe.unet, pipe.text_encoder):
        # As sequential offloading does it: each module's weights come when it runs, and go after it.
        accelerate.cpu_offload(network, torch.device("cpu"))
    assert {parameter.device.type for parameter in pipe.unet.parameters()} == {"meta"}
    for ours, theirs in zip(outputs(pipe), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
