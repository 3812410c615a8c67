"""The components of the tiny pipelines: tokenizers, text encoders and autoencoders with random weights."""

from __future__ import annotations

import math
import string
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

# A vocabulary of single letters with CLIP's two special tokens, which have the highest numbers as in CLIP's own.
VOCABULARY = Path(__file__).parents[1] / "data" / "tiny-sd" / "tokenizer"
# Every character that a prompt of the tests is likely to hold, so that no two prompts become the same tokens.
CHARACTERS = string.ascii_letters + string.digits + string.punctuation


@contextmanager
def seeded(name: str) -> Iterator[None]:
    """Draw random numbers that depend on `name` alone; the global state is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(name.encode()))
        yield


@torch.no_grad()
def enliven(network: nn.Module, outputs: Mapping[str, float] | None = None) -> Any:
    """Draw all weights anew, so that every input of the network tells and its activations stay around one.

    Libraries start weights small: untrained, a transformer hardly hears its prompt, and a wrong one could go unseen.
    Here a layer's outputs have about the variance of its inputs, whatever it is.

    Args:
        network: changed in place, in evaluation mode afterwards.
        outputs: gains of single layers by name, as for the last layer, which sets the scale of the prediction.
    """
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            noise = torch.randn(parameter.shape)
            if name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            elif isinstance(module, nn.Embedding):
                parameter.copy_(noise)
            elif parameter.ndim == 1:
                parameter.copy_(1.0 + 0.1 * noise)
            else:
                parameter.copy_(noise / math.sqrt(parameter[0].numel()))
    for name, gain in (outputs or {}).items():
        for parameter in network.get_submodule(name).parameters():
            parameter.mul_(gain)
    return network.eval()


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> Any:
    """Make CLIP's tokenizer on a vocabulary of letters; OpenCLIP pads with "!"."""
    return CLIPTokenizer.from_pretrained(VOCABULARY, pad_token=pad_token)


def t5_tokenizer(length: int = 512) -> Any:
    """Make T5's tokenizer on a vocabulary of letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [(piece, -2.0) for piece in ("▁", *CHARACTERS)]
    return T5Tokenizer(vocab=[*special, *pieces], extra_ids=0, model_max_length=length)


def clip_text(
    width: int, *, layers: int = 2, projection: int | None = None, openclip: bool = False, positions: int = 77
) -> Any:
    """Make CLIP's text encoder, with a projection of the pooled embedding if `projection` is its width."""
    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=positions,
        hidden_act="gelu" if openclip else "quick_gelu",
        projection_dim=projection or width,
        # As the real configurations have them, wrong as they are: CLIP then pools at the highest token.
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return enliven((CLIPTextModelWithProjection if projection else CLIPTextModel)(config))


def t5_text(width: int) -> Any:
    """Make T5's encoder."""
    config = T5Config(
        vocab_size=len(t5_tokenizer()),
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    return enliven(T5EncoderModel(config))


def autoencoder(channels: int = 4, *, blocks: int = 3, **config: Any) -> Any:
    """Make an autoencoder whose standardised latents are of the order of one; with three blocks, one for 4 pixels."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=(8, *(16,) * (blocks - 1)),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
        **config,
    )
    enliven(vae, {"decoder.conv_out": 0.5})
    last = vae.quant_conv if vae.config.use_quant_conv else vae.encoder.conv_out
    with torch.no_grad():
        # Its outputs are means, to be as large as the scaling expects, and log variances, to be small.
        last.weight[:channels] *= 1.0 / vae.config.scaling_factor
        last.weight[channels:] *= 0.1
        last.bias[channels:] -= 6.0
    return vae


def flow_autoencoder(**config: Any) -> Any:
    """Make the autoencoder of Stable Diffusion 3 and Flux: 16 channels, and no convolutions around the latents."""
    return autoencoder(16, use_quant_conv=False, use_post_quant_conv=False, force_upcast=True, **config)
