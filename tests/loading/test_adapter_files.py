"""LoRA files of every form that training tools write: loaded as they mean it, or refused as what they are."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file

from renoise import Editor, ModelError
from renoise.errors import AdapterWarning
from renoise.fingerprint import fingerprint, same_model
from renoise.loading import lora as loading
from tiny_pipelines import BUILDERS
from written import built, folder_of, network_of

Tensors = dict[str, torch.Tensor]
RANK = 4
UNET, TRANSFORMER = ("to_q", "to_k", "to_v", "to_out.0"), ("to_q", "to_k", "add_q_proj", "proj_mlp")


def pairs(network: Any, ends: tuple[str, ...], name: Callable[[str], tuple[str, str]]) -> Tensors:
    """Both factors of each layer, by the names that `name` gives them."""
    generator, made = torch.Generator().manual_seed(0), {}
    for layer, module in network.named_modules():
        if layer.endswith(ends):
            down, up = name(layer)
            made[down] = 0.1 * torch.randn(RANK, module.weight.shape[1], generator=generator)
            made[up] = 0.1 * torch.randn(module.weight.shape[0], RANK, generator=generator)
    return made


def ended(down: str, up: str, begin: Callable[[str], str] = str) -> Callable[[str], tuple[str, str]]:
    return lambda layer: (begin(layer) + down, begin(layer) + up)


def kohya(layer: str) -> str:
    return "lora_unet_" + layer.replace(".", "_")


def processor(layer: str) -> str:
    return layer.replace(".to_", ".processor.to_").replace("to_out.0", "to_out")


DOTTED, PEFT = (".lora.down.weight", ".lora.up.weight"), (".lora_A.weight", ".lora_B.weight")
FORMS: dict[str, tuple[str, Callable[[str], tuple[str, str]]]] = {
    "dotted": ("sd15-ddim", ended(*DOTTED, lambda layer: f"unet.{layer}")),
    "dotted, bare": ("sd15-ddim", ended(*DOTTED)),
    "peft": ("sd15-ddim", ended(*PEFT, lambda layer: f"unet.{layer}")),
    "peft, bare": ("sd15-ddim", ended(*PEFT)),
    "peft, with the adapter's name": (
        "sd15-ddim",
        ended(".lora_A.style.weight", ".lora_B.style.weight", lambda layer: f"unet.{layer}"),
    ),
    "peft, without ends": ("sd15-ddim", ended(".lora_A", ".lora_B", lambda layer: f"unet.{layer}")),
    "attention processors": (
        "sd15-ddim",
        ended("_lora.down.weight", "_lora.up.weight", lambda layer: f"unet.{processor(layer)}"),
    ),
    "attention processors, bare": ("sd15-ddim", ended("_lora.down.weight", "_lora.up.weight", processor)),
    "kohya": ("sd15-ddim", ended(".lora_down.weight", ".lora_up.weight", kohya)),
    "sdxl, dotted": ("sdxl", ended(*DOTTED, lambda layer: f"unet.{layer}")),
    "flux, dotted": ("flux-dev", ended(*DOTTED, lambda layer: f"transformer.{layer}")),
    "flux, peft": ("flux-dev", ended(*PEFT, lambda layer: f"transformer.{layer}")),
    "flux, bare": ("flux-dev", ended(*PEFT)),
    "sd3, dotted": ("sd3-no-t5", ended(*DOTTED, lambda layer: f"transformer.{layer}")),
    "sd3, bare": ("sd3-no-t5", ended(*PEFT)),
}


def loaded(tiny: Path, model: str, lora: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdapterWarning)
        return Editor.from_pretrained(folder_of(model, tiny), device="cpu", lora=lora).pipe


def deltas(network: Any) -> dict[str, torch.Tensor]:
    """The change of each adapted layer, by its name."""
    return {
        name: module.get_delta_weight(module.active_adapters[0])
        for name, module in network.named_modules()
        if isinstance(module, BaseTunerLayer)
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_lora_in_any_form_makes_the_change_that_it_means(tiny: Path, tmp_path: Path, form: str) -> None:
    model, name = FORMS[form]
    network = network_of(built(model))
    ends = UNET if model.startswith("sd") else TRANSFORMER
    tensors = pairs(network, ends, name)
    save_file(tensors, tmp_path / "l.safetensors")
    made = deltas(network_of(loaded(tiny, model, tmp_path / "l.safetensors")))
    assert set(made) == {layer for layer, _ in network.named_modules() if layer.endswith(ends)}
    for layer, delta in made.items():
        down, up = name(layer)
        torch.testing.assert_close(delta, tensors[up] @ tensors[down])


def test_xlabs_files_for_flux_are_read(tiny: Path, tmp_path: Path) -> None:
    width = network_of(built("flux-dev")).inner_dim
    tensors: Tensors = {}
    for stream in "12":
        for part, out in (("qkv", 3 * width), ("proj", width)):
            key = f"double_blocks.0.processor.{part}_lora{stream}"
            tensors |= {f"{key}.down.weight": torch.randn(4, width), f"{key}.up.weight": torch.randn(out, 4)}
    save_file(tensors, tmp_path / "l.safetensors")
    assert len(deltas(network_of(loaded(tiny, "flux-dev", tmp_path / "l.safetensors")))) == 8


@pytest.mark.parametrize("prefix", ["lora_te_text_model_", "lora_te1_text_model_", "lora_te_"])
def test_kohyas_names_of_text_encoders_are_read(tiny: Path, tmp_path: Path, prefix: str) -> None:
    pipe = built("sd15-ddim")
    factors = (".lora_down.weight", ".lora_up.weight")
    tensors = pairs(pipe.unet, UNET, ended(*factors, kohya))
    ends = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    tensors |= pairs(pipe.text_encoder, ends, ended(*factors, lambda layer: prefix + layer.replace(".", "_")))
    save_file(tensors, tmp_path / "l.safetensors")
    adapted = loaded(tiny, "sd15-ddim", tmp_path / "l.safetensors")
    assert len(deltas(adapted.text_encoder)) == 12
    assert len(deltas(adapted.unet)) == 32


def test_a_locon_with_convolutions_is_read(tiny: Path, tmp_path: Path) -> None:
    tensors: Tensors = {}
    for name, module in built("sd15-ddim").unet.named_modules():
        if name.endswith(("conv1", "conv2")):
            out, into = module.weight.shape[:2]
            tensors |= {f"{kohya(name)}.lora_down.weight": torch.randn(2, into, 3, 3)}
            tensors |= {f"{kohya(name)}.lora_up.weight": torch.randn(out, 2, 1, 1)}
            tensors |= {f"{kohya(name)}.alpha": torch.tensor(1.0)}
    save_file(tensors, tmp_path / "l.safetensors")
    assert len(deltas(loaded(tiny, "sd15-ddim", tmp_path / "l.safetensors").unet)) == len(tensors) // 3


def by_peft(folder: Path, part: str = "unet", **settings: Any) -> Any:
    """Save a LoRA as PEFT does, and return the network that carries it."""
    chosen: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["to_q", "to_k", "to_out.0"], **settings}
    network: Any = getattr(BUILDERS["sd15-ddim"](), part)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = get_peft_model(network, LoraConfig(init_lora_weights=False, **chosen))
    if chosen.get("use_dora"):
        for name, parameter in model.named_parameters():
            if "magnitude" in name:
                parameter.data *= 1.3
    assert isinstance(model, PeftModel)
    model.save_pretrained(str(folder))
    return model.base_model.model.eval()


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lora_alpha": 3, "use_rslora": True},
        {"rank_pattern": {"attn2.to_k": 2}, "alpha_pattern": {"attn1.to_q": 16}},
        {"use_dora": True},
        {"target_modules": ["to_q", "conv1"]},
    ],
)
def test_pefts_own_files_do_what_peft_does(tiny: Path, tmp_path: Path, settings: dict[str, Any], as_file: bool) -> None:
    carrying = by_peft(tmp_path / "p", **settings)
    lora = tmp_path / "p" / "adapter_model.safetensors" if as_file else tmp_path / "p"
    unet = loaded(tiny, "sd15-ddim", lora).unet
    z, text = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 16)
    with torch.no_grad():
        torch.testing.assert_close(unet(z, 500, text).sample, carrying(z, 500, text).sample, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(built("sd15-ddim").unet(z, 500, text).sample, unet(z, 500, text).sample, atol=1e-3)


def test_pefts_own_files_of_a_text_encoder_do_what_peft_does(tiny: Path, tmp_path: Path) -> None:
    carrying = by_peft(tmp_path, "text_encoder", target_modules=["q_proj", "out_proj", "fc1"], lora_alpha=7)
    encoder = loaded(tiny, "sd15-ddim", tmp_path).text_encoder
    ids = torch.arange(6)[None]
    with torch.no_grad():
        torch.testing.assert_close(encoder(ids)[0], carrying(ids)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("by", ["PEFT", "diffusers"])
def test_the_magnitudes_of_a_text_encoder_count(tiny: Path, tmp_path: Path, by: str) -> None:
    # transformers takes them for weights of no layer, and leaves those that PEFT begins with.
    chosen: dict[str, Any] = {"target_modules": ["q_proj", "fc1"], "lora_alpha": 4, "use_dora": True}
    carrying = by_peft(tmp_path, "text_encoder", **chosen)
    lora = tmp_path
    if by == "diffusers":
        lora = tmp_path / "l.safetensors"
        own = load_file(tmp_path / "adapter_model.safetensors")
        save_file({k.replace("base_model.model.", "text_encoder.text_model."): w for k, w in own.items()}, lora)
    encoder = loaded(tiny, "sd15-ddim", lora).text_encoder
    ids = torch.arange(6)[None]
    with torch.no_grad():
        torch.testing.assert_close(encoder(ids)[0], carrying(ids)[0], rtol=1e-4, atol=1e-5)


WHOLE = {
    "an output layer": "conv_out.weight",
    "a norm": "mid_block.attentions.0.transformer_blocks.0.norm1.weight",
    "an adapted layer's bias": "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0.base_layer.bias",
}


@pytest.mark.parametrize("beginning", ["unet.", "", "base_model.model.", "base_model.model.unet."])
@pytest.mark.parametrize("kind", WHOLE)
def test_whole_weights_beside_a_lora_are_refused(tmp_path: Path, kind: str, beginning: str) -> None:
    # PEFT would put them in the place of the model's own, for good and at any strength.
    pipe, name = BUILDERS["sd15-ddim"](), WHOLE[kind]
    before = {key: weight.clone() for key, weight in pipe.unet.state_dict().items()}
    tensors = pairs(pipe.unet, ("to_out.0",), ended(*PEFT, lambda layer: beginning + layer))
    tensors[beginning + name] = torch.ones_like(before[name.replace("base_layer.", "")])
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4}))
    with pytest.raises(ModelError, match=rf"holds whole weights as well, such as {beginning}{name}, .*; take a LoRA"):
        loading.apply(pipe, loading.find([(str(tmp_path), 1.0)], {}), with_scheduler=False)
    assert all(torch.equal(weight, before[key]) for key, weight in pipe.unet.state_dict().items())


def test_tensors_of_no_known_kind_are_told(tmp_path: Path) -> None:
    by_peft(tmp_path)
    path, alone = tmp_path / "adapter_model.safetensors", tmp_path / "l.safetensors"
    save_file(load_file(path) | {"steps": torch.ones(1)}, path)
    tensors = pairs(built("sd15-ddim").unet, UNET, ended(*PEFT, lambda layer: f"unet.{layer}"))
    save_file(tensors | {"steps": torch.ones(1)}, alone)
    for file in (path, alone):
        pipe = BUILDERS["sd15-ddim"]()
        with pytest.warns(AdapterWarning, match="1 tensors are of no known kind, such as steps"):
            loading.apply(pipe, loading.find([(str(file), 1.0)], {}), with_scheduler=False)
        assert deltas(pipe.unet)


def test_several_adapters_in_one_file_are_refused(tiny: Path, tmp_path: Path) -> None:
    names = [ended(f".lora_A.{own}.weight", f".lora_B.{own}.weight") for own in ("one", "other")]
    made = [pairs(built("sd15-ddim").unet, UNET, name) for name in names]
    save_file(made[0] | made[1], tmp_path / "l.safetensors")
    with pytest.raises(ModelError, match="holds 2 adapters, such as 'one', 'other'; save one of them alone"):
        loaded(tiny, "sd15-ddim", tmp_path / "l.safetensors")


def test_a_rank_that_no_layer_has_takes_no_room(tiny: Path, tmp_path: Path) -> None:
    by_peft(tmp_path)
    config = tmp_path / "adapter_config.json"
    absurd = {"r": 10**9, "rank_pattern": {"to_q": 4, "to_k": 4, "to_out.0": 4}}
    config.write_text(json.dumps(json.loads(config.read_text()) | absurd))
    made = deltas(loaded(tiny, "sd15-ddim", tmp_path).unet)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"r": 4}))
    for layer, delta in deltas(loaded(tiny, "sd15-ddim", tmp_path).unet).items():
        assert torch.equal(made[layer], delta)


def test_pefts_files_that_name_their_network_are_read(tiny: Path, tmp_path: Path) -> None:
    by_peft(tmp_path)
    expected = deltas(loaded(tiny, "sd15-ddim", tmp_path).unet)
    path, prefix = tmp_path / "adapter_model.safetensors", "base_model.model."
    tensors = load_file(path)
    save_file({k.replace(prefix, f"{prefix}unet."): v for k, v in tensors.items()}, path)
    for layer, delta in deltas(loaded(tiny, "sd15-ddim", tmp_path).unet).items():
        assert torch.equal(expected[layer], delta)
    save_file({k.replace(prefix, f"{prefix}other."): v for k, v in tensors.items()}, path)
    with pytest.raises(ModelError, match="was made by PEFT for another network"):
        loaded(tiny, "sd15-ddim", tmp_path)


def test_pefts_own_files_go_to_the_text_encoder_that_they_fit(tiny: Path, tmp_path: Path) -> None:
    encoder: Any = BUILDERS["sdxl"]().text_encoder_2
    model: Any = get_peft_model(encoder, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "out_proj"]))
    model.save_pretrained(str(tmp_path))
    pipe = loaded(tiny, "sdxl", tmp_path)
    assert (len(deltas(pipe.text_encoder)), len(deltas(pipe.text_encoder_2)), len(deltas(pipe.unet))) == (0, 4, 0)


def test_the_settings_in_a_networks_own_file_count(tiny: Path, tmp_path: Path) -> None:
    unet: Any = BUILDERS["sd15-ddim"]().unet
    unet.add_adapter(LoraConfig(r=4, lora_alpha=12, target_modules=["to_q"], init_lora_weights=False), "x")
    unet.save_lora_adapter(tmp_path, adapter_name="x")
    made, meant = deltas(loaded(tiny, "sd15-ddim", tmp_path).unet), deltas(unet)
    assert made.keys() == meant.keys()
    for layer, delta in made.items():
        torch.testing.assert_close(delta, meant[layer])


def test_the_settings_of_a_whole_pipeline_in_a_header_count(tiny: Path, tmp_path: Path) -> None:
    pipe: Any = BUILDERS["sd15-ddim"]()
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 12}
    pipe.unet.add_adapter(LoraConfig(**settings, target_modules=["to_q"], init_lora_weights=False), "x")
    targets = [name for name, layer in pipe.unet.named_modules() if isinstance(layer, BaseTunerLayer)]
    pipe.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(pipe.unet, adapter_name="x"),
        unet_lora_adapter_metadata={**settings, "target_modules": targets},
    )
    made, meant = deltas(loaded(tiny, "sd15-ddim", tmp_path).unet), deltas(pipe.unet)
    assert made.keys() == meant.keys()
    for layer, delta in made.items():
        torch.testing.assert_close(delta, meant[layer])


def test_diffusers_own_dora_is_read_and_told_from_a_lora(tiny: Path, tmp_path: Path) -> None:
    unet: Any = BUILDERS["sd15-ddim"]().unet
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["to_q"], init_lora_weights=False, use_dora=True)
    unet.add_adapter(config, "x")
    state = get_peft_model_state_dict(unet, adapter_name="x")
    tensors = {f"unet.{key}": weight.clone() for key, weight in state.items()}
    save_file(tensors, tmp_path / "dora.safetensors")
    save_file({k: v for k, v in tensors.items() if "magnitude" not in k}, tmp_path / "lora.safetensors")
    z, text = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 16)
    dora, plain = (loaded(tiny, "sd15-ddim", tmp_path / f"{kind}.safetensors") for kind in ("dora", "lora"))
    with torch.no_grad():
        torch.testing.assert_close(dora.unet(z, 500, text).sample, unet(z, 500, text).sample, rtol=1e-4, atol=1e-5)
    assert "dora" in fingerprint(dora)["adapters"]
    assert not same_model(fingerprint(dora), fingerprint(plain))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "is of the kind IA3, which is not read"),
        ({"r": "four"}, "settings of .* are not those of a LoRA"),
        ({"r": -4}, "settings of .* are not those of a LoRA"),
        ({"rank_pattern": ["to_q"]}, "settings of .* are not those of a LoRA"),
        ({"lora_alpha": "much"}, "does not fit"),
        (None, r"has no adapter_config.json beside it, which says how strong"),
        ("[1", "adapter_config.json"),
    ],
)
def test_pefts_files_without_usable_settings_are_refused(tiny: Path, tmp_path: Path, changes: Any, words: str) -> None:
    by_peft(tmp_path)
    config = tmp_path / "adapter_config.json"
    if changes is None:
        config.unlink()
    else:
        config.write_text(changes if isinstance(changes, str) else json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(ModelError, match=words):
        loaded(tiny, "sd15-ddim", tmp_path)


def lyco(*ends: str) -> Callable[[Any], Tensors]:
    return lambda unet: {
        kohya(name) + end: torch.randn(4, 4) for name, _ in unet.named_modules() if name.endswith(UNET) for end in ends
    }


KINDS: dict[str, tuple[str, Callable[[Any], Tensors]]] = {
    "IA3": ("an IA3", lyco(".weight", ".on_input")),
    "OFT": ("an OFT or BOFT", lyco(".oft_blocks", ".alpha")),
    "BOFT": ("an OFT or BOFT", lyco(".oft_blocks", ".boft_m")),
    "GLoRA": ("a GLoRA", lyco(".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight")),
    "Custom Diffusion": (
        "Custom Diffusion",
        lambda unet: {"mid_block.attentions.0.attn2.processor.to_k_custom_diffusion.weight": torch.randn(4, 4)},
    ),
    "a control LoRA": (
        "a control LoRA, which follows another image",
        lambda unet: {
            "img_in.lora_A.weight": torch.ones(4, 128),
            "img_in.lora_B.weight": torch.ones(16, 4),
            "double_blocks.0.img_attn.norm.query_norm.scale": torch.ones(4),
        },
    ),
    "a LoRA and embeddings": (
        "textual inversion",
        lambda unet: (
            lyco(".lora_down.weight", ".lora_up.weight")(unet) | {"bundle_emb.x.string_to_param.*": torch.ones(4)}
        ),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_adapters_are_refused_as_what_they_are(tmp_path: Path, kind: str) -> None:
    words, made = KINDS[kind]
    save_file(made(built("sd15-ddim").unet), tmp_path / "l.safetensors")
    with pytest.raises(ModelError, match=rf"the LoRA .* {words}.*, which is not read; take a LoRA"):
        Editor.from_pretrained("renoise-tests/never-asked-for", device="cpu", lora=tmp_path / "l.safetensors")
    with pytest.raises(ModelError, match=rf"an adapter \(.*{words}.*\), which is not read"):
        Editor.from_pretrained(tmp_path / "l.safetensors", device="cpu")


def test_what_is_not_used_of_a_lora_is_said(tiny: Path, tmp_path: Path) -> None:
    tensors = pairs(built("sd15-ddim").unet, UNET, ended(*PEFT, lambda layer: f"unet.{layer}"))
    tensors |= {
        "unet.nowhere.to_q.lora_A.weight": torch.ones(4, 4),
        "unet.nowhere.to_q.lora_B.weight": torch.ones(4, 4),
    }
    save_file(tensors, tmp_path / "l.safetensors")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Editor.from_pretrained(folder_of("sd15-ddim", tiny), device="cpu", lora=tmp_path / "l.safetensors")
    told = [str(warning.message) for warning in caught if isinstance(warning.message, AdapterWarning)]
    assert len(told) == 1, told
    assert "only 32 of the 33 layers" in told[0]
    assert "and not unet.nowhere.to_q: it may be made for another" in told[0]


def test_names_that_are_not_read_are_shown(tiny: Path, tmp_path: Path) -> None:
    factors = {f"other.block.lora_{factor}.weight": torch.ones(4, 4) for factor in "AB"}
    save_file(factors, tmp_path / "l.safetensors")
    with pytest.raises(ModelError, match=r"by the names that are read, but such as other\.block\.lora_A\.weight"):
        loaded(tiny, "sd15-ddim", tmp_path / "l.safetensors")
    assert load_file(tmp_path / "l.safetensors")
