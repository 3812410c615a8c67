"""Networks that are quantised: they invert and edit as the pipeline's own call draws, and are told apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from parity import PROMPTS, ours, relative, start, theirs
from quantised import bitsandbytes, gguf_flux, torchao
from quick import slow_but
from renoise import Editor, Inversion, InversionConfig, ModelError, Renoising
from renoise.fingerprint import fingerprint, same_model
from tiny_pipelines import BUILDERS

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own, of what this machine lacks

Build = Callable[..., Any]


def cast_by_layer(name: str, change: float = 0.0) -> Any:
    """Return a pipeline whose network is kept in float8 and computes in float32 (layerwise casting)."""
    pipe: Any = BUILDERS[name]()
    with torch.no_grad():
        for parameter in pipe.transformer.parameters():
            parameter.add_(change)
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    return pipe


@pytest.fixture(scope="module")
def builders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Build]:
    place = tmp_path_factory.mktemp("gguf")
    return {
        "gguf": partial(gguf_flux, place),
        "gguf of 4 bits": partial(gguf_flux, place, kind="Q4_0"),
        "torchao int8": partial(torchao, "sd3", "Int8WeightOnlyConfig"),
        "torchao int8 unet": partial(torchao, "sdxl", "Int8WeightOnlyConfig"),
        "torchao float8": partial(torchao, "sd3", "Float8WeightOnlyConfig"),
        "bitsandbytes of 8 bits": partial(bitsandbytes, "flux-dev", 8),
        "bitsandbytes of 4 bits": partial(bitsandbytes, "flux-dev", 4),
        "bitsandbytes of 4 bits twice": partial(bitsandbytes, "flux-dev", 4, compress_statistics=True),
        "layerwise casting": partial(cast_by_layer, "sd35"),
    }


SORTS = slow_but(
    ["gguf", "torchao int8", "bitsandbytes of 4 bits"],
    [
        "gguf",
        "gguf of 4 bits",
        "torchao int8",
        "torchao int8 unet",
        "torchao float8",
        "bitsandbytes of 8 bits",
        "bitsandbytes of 4 bits",
        "bitsandbytes of 4 bits twice",
        "layerwise casting",
    ],
)


@pytest.mark.parametrize("sort", SORTS)
def test_it_draws_as_the_pipelines_own_call(sort: str, builders: dict[str, Build]) -> None:
    editor = Editor(builders[sort]())
    latents = start(editor, 1)
    with torch.no_grad():
        expected = theirs(editor.pipe, latents, PROMPTS[:1], guidance_scale=1.0)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=1.0), expected) < 1e-4


@pytest.mark.parametrize("sort", SORTS)
def test_it_inverts_and_edits_and_is_known_again(sort: str, builders: dict[str, Build], tmp_path: Path) -> None:
    editor = Editor(builders[sort]())
    before = fingerprint(editor.pipe)
    z_0 = 0.5 * start(editor, 1)
    config = InversionConfig(num_steps=4, strength=0.25, renoising=Renoising(8))
    inversion = editor.invert(latents=z_0, prompt="a cat", config=config)
    assert relative(editor.reconstruct(inversion, "latent"), z_0) < 0.05
    assert relative(editor.edit(inversion, "a dog", output_type="latent"), z_0) > 1e-3
    # Running it may change how a library keeps its weights, and the next process has it as it was.
    inversion.save(tmp_path / "i.safetensors")
    assert same_model(before, fingerprint(editor.pipe))
    Editor(builders[sort]()).edit(Inversion.load(tmp_path / "i.safetensors"), "a dog", output_type="latent")


@pytest.mark.parametrize("sort", SORTS)
def test_another_quantised_network_is_another_model(sort: str, builders: dict[str, Build]) -> None:
    one, other = fingerprint(builders[sort]()), fingerprint(builders[sort](change=0.02))
    assert one["weights"]
    assert same_model(one, fingerprint(builders[sort]()))
    assert not same_model(one, other)


def test_quantised_and_plain_networks_are_two_models(builders: dict[str, Build]) -> None:
    plain = fingerprint(BUILDERS["flux-dev"]())
    of_flux = [fingerprint(builders[sort]()) for sort in ("gguf", "gguf of 4 bits", "bitsandbytes of 8 bits")]
    assert not any(same_model(plain, quantised) for quantised in of_flux)
    assert not same_model(of_flux[0], of_flux[1])


def test_gguf_layers_in_another_type_than_the_others_are_refused_before_the_first_pass(tmp_path: Path) -> None:
    from diffusers import GGUFQuantizationConfig

    pipe = gguf_flux(tmp_path, quantization_config=GGUFQuantizationConfig(compute_dtype=torch.bfloat16))
    passes: list[Any] = []
    editor = Editor(pipe)
    config = InversionConfig(num_steps=2, renoising=Renoising(0))
    with pytest.raises(ModelError, match="compute_dtype"):
        editor.invert(latents=start(editor, 1), prompt="a cat", config=config, progress=passes.append)
    assert not passes


def test_a_network_that_names_no_type_to_compute_in_takes_that_of_the_embeddings() -> None:
    pipe: Any = BUILDERS["flux-dev"]()
    assert Editor(pipe).dtype == torch.float32
    pipe.text_encoder.to(torch.bfloat16)
    pipe.transformer.to(torch.float8_e4m3fn)
    assert Editor(pipe).dtype == torch.bfloat16
