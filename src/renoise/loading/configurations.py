"""The configurations of a pipeline's parts, checked before anything is built from them.

diffusers and transformers believe what a configuration says: a wrong number takes hours or all memory, or makes images
of another scale. Here each setting that decides sizes, scales or noise levels has its range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from renoise.errors import ModelError
from renoise.escaping import shown
from renoise.loading.folders import is_plain
from renoise.reading import read_json, require_file

# More than the largest tokenizer's or index's file of the supported families.
_MAX_BYTES = 64 * 2**20
# As many entries as a schedule has, or blocks a network.
_MOST_TIMESTEPS, _MOST_BLOCKS = 100_000, 1000
# The ends of the names of files that diffusers and transformers read as JSON; others may lie beside them.
_READ = ("config.json", "vocab.json", "tokenizer.json", "tokens_map.json", "added_tokens.json", "chat_template.json")
# The implementations of attention that come with torch and transformers.
_ATTENTIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_REMEDY = "the folder is damaged; download it again"

# A range in words, and whether a single value is in it.
Rule = tuple[str, Callable[[Any], bool]]


def _whole(least: int, most: int) -> Rule:
    return (
        f"a whole number from {least} to {most}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


_COUNT = _whole(1, _MOST_BLOCKS)
_WIDTH = _whole(1, 2**17)
_TABLE = _whole(1, 2**22)
_LENGTH = _whole(1, 2**16)
_POSITIVE: Rule = ("a number above 0", lambda value: _is_number(value) and value > 0)
_NUMBER: Rule = ("a finite number", _is_number)
_BETA: Rule = ("a number above 0 and below 1", lambda value: _is_number(value) and 0 < value < 1)

# The ranges of networks' settings; None leaves a setting to its class.
NETWORKS: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "num_layers",
                "num_single_layers",
                "num_hidden_layers",
                "num_decoder_layers",
                "layers_per_block",
                "num_attention_heads",
                "num_heads",
                "num_key_value_heads",
                "n_layers",
                "n_refiner_layers",
                "n_heads",
                "n_kv_heads",
                "multi_query_group_num",
                "num_kv_heads",
                "num_refiner_layers",
                "num_mmdit_layers",
                "num_single_dit_layers",
                "approximator_layers",
                "num_routed_experts",
                "num_activated_experts",
                "patch_size",
            ),
            _COUNT,
        ),
        # Distilled UNets have blocks without any.
        **dict.fromkeys(
            ("transformer_layers_per_block", "reverse_transformer_layers_per_block"), _whole(0, _MOST_BLOCKS)
        ),
        **dict.fromkeys(
            (
                "in_channels",
                "out_channels",
                "latent_channels",
                "block_out_channels",
                "encoder_block_out_channels",
                "decoder_block_out_channels",
                "norm_num_groups",
                "attention_head_dim",
                "cross_attention_dim",
                "joint_attention_dim",
                "pooled_projection_dim",
                "caption_projection_dim",
                "caption_channels",
                "cross_attention_dim_t5",
                "addition_time_embed_dim",
                "projection_class_embeddings_input_dim",
                "time_cond_proj_dim",
                "encoder_hid_dim",
                "hidden_size",
                "intermediate_size",
                "projection_dim",
                "d_model",
                "d_ff",
                "d_kv",
                "ffn_hidden_size",
                "kv_channels",
                "axes_dims_rope",
                "axes_dims",
                "dim",
                "head_dim",
                "cap_feat_dim",
                "z_dim",
                "base_dim",
                "timestep_guidance_channels",
                "approximator_num_channels",
                "approximator_hidden_dim",
                "multiple_of",
                "text_embed_dim",
                "text_emb_dim",
                "time_embed_dim",
                "condition_dim",
                "axes_dim_rope",
                "rope_axes_dim",
            ),
            _WIDTH,
        ),
        **dict.fromkeys(
            ("vocab_size", "padded_vocab_size", "max_position_embeddings", "seq_length", "axes_lens"), _TABLE
        ),
        **dict.fromkeys(("text_len", "text_len_t5", "type_vocab_size"), _LENGTH),
        "sample_size": _whole(1, 2**14),
        "image_size": _whole(1, 2**14),
        # The side of a grid, or the number of its places.
        "pos_embed_max_size": _whole(1, 2**14),
        "max_resolution": _whole(1, 2**12),
        "llama_layers": _whole(0, _MOST_BLOCKS),
        "downsample_padding": _whole(0, 2**4),
        **dict.fromkeys(
            (
                "scaling_factor",
                "latents_std",
                "layer_norm_eps",
                "layer_norm_epsilon",
                "layernorm_epsilon",
                "batch_norm_eps",
                "mlp_ratio",
            ),
            _POSITIVE,
        ),
        **dict.fromkeys(("shift_factor", "latents_mean"), _NUMBER),
    }
)
# Settings that may have a value for each block, axis, channel or timestep.
_LISTS = frozenset(
    (
        "layers_per_block",
        "transformer_layers_per_block",
        "reverse_transformer_layers_per_block",
        "num_attention_heads",
        "attention_head_dim",
        "cross_attention_dim",
        "block_out_channels",
        "encoder_block_out_channels",
        "decoder_block_out_channels",
        "axes_dims_rope",
        "axes_dims",
        "axes_lens",
        "axes_dim_rope",
        "rope_axes_dim",
        "caption_channels",
        "max_resolution",
        "llama_layers",
        "latents_mean",
        "latents_std",
        "patch_size",
        "sample_size",
        "trained_betas",
    )
)
# Settings that a network cannot leave to its class.
_NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"vae": ("scaling_factor",), "unet": ("in_channels",), "transformer": ("in_channels",)}
)
SCHEDULERS: Mapping[str, Rule] = MappingProxyType(
    {
        "num_train_timesteps": _whole(1, _MOST_TIMESTEPS),
        "original_inference_steps": _whole(1, _MOST_TIMESTEPS),
        "steps_offset": _whole(0, _MOST_TIMESTEPS),
        "beta_start": _BETA,
        "beta_end": _BETA,
        "trained_betas": _BETA,
        "base_image_seq_len": _TABLE,
        "max_image_seq_len": _TABLE,
        **dict.fromkeys(
            ("shift", "sigma_min", "sigma_max", "sigma_data", "rho", "timestep_scaling", "sample_max_value"), _POSITIVE
        ),
        **dict.fromkeys(("base_shift", "max_shift"), _NUMBER),
    }
)


def require_sensible(folder: Path, parts: Collection[str], *, weights: bool = True) -> None:
    """Check what the parts of a pipeline's folder say about themselves, before anything is built or read.

    Args:
        folder: a pipeline's folder.
        parts: the names of the parts that are loaded from it.
        weights: whether their weights are read as well.

    Raises:
        ModelError: if a file is no regular file, is too large, nested too deeply or no JSON, or if a setting is out of
            its range.
    """
    for part in sorted(parts):
        if (folder / part).is_dir():
            _require_part(folder / part, part, weights)


def _require_part(folder: Path, part: str, weights: bool) -> None:
    for path in sorted(folder.iterdir()):
        # Hidden files are those of file managers, and links to nothing are left of pruned caches: nobody reads them.
        if path.is_dir() or path.name.startswith(".") or _leads_nowhere(path):
            continue
        size = require_file(path, ModelError).st_size
        index = path.suffix == ".json" and ".index." in path.name
        if index or path.name.endswith(_READ):
            content = read_json(path, ModelError, limit=_MAX_BYTES)
            if index:
                if weights:
                    _require_shards(content, path)
            elif path.name == "scheduler_config.json":
                _require_ranges(content, SCHEDULERS, path)
            elif path.name == "tokenizer_config.json":
                # CLIP's prompts are filled up to this length; T5's have none, and often an astronomical number.
                clip = isinstance(content, dict) and str(content.get("tokenizer_class")).startswith("CLIP")
                _require_ranges(content, {"model_max_length": _LENGTH} if clip else {}, path)
            elif path.name == "adapter_config.json":
                problem = f"{path} makes another model of the {part}, which is not followed"
                raise ModelError(problem, argument="model", remedy="take the model without it, and give its LoRA apart")
            elif path.name == "config.json":
                _require_own_attention(content, path)
                _require_ranges(content, NETWORKS, path)
                _require_statistics(content, path)
                for setting in _NEEDED.get(part, ()):
                    if setting in content and content[setting] is None:
                        raise ModelError(f"{path} has no {setting}", argument="model", remedy=_REMEDY)
            elif not isinstance(content, (dict, list)):
                raise ModelError(f"{path} must hold an object or a list", argument="model", remedy=_REMEDY)
        elif path.suffix in (".json", ".txt", ".model", ".jinja") and size > _MAX_BYTES:
            raise ModelError(f"{path} is larger than the {_MAX_BYTES:,} bytes that are read of such a file")


def _leads_nowhere(path: Path) -> bool:
    """Tell whether a link leads to nothing; one that leads to itself is none of those."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _require_statistics(content: Mapping[str, Any], path: Path) -> None:
    """Check that an autoencoder's statistics are of as many channels as its latents have, or one would do for all."""
    channels = content.get("latent_channels", content.get("z_dim"))
    for setting in ("latents_mean", "latents_std"):
        values = content.get(setting)
        if channels is not None and values is not None and (not isinstance(values, list) or len(values) != channels):
            problem = f"{path}: {setting} must be a list of {channels} numbers, not {shown(values, 80)}"
            raise ModelError(problem, argument="model", remedy=_REMEDY)


def _require_own_attention(content: Any, path: Path) -> None:
    """Refuse a configuration that names code of the hub as its attention, which transformers would fetch and run."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if "attn_implementation" in key and value not in (None, *_ATTENTIONS):
            problem = f"{path}: {shown(key, 60)} must be one of {', '.join(_ATTENTIONS)}, not {shown(value, 80)}"
            raise ModelError(problem, argument="model", remedy=_REMEDY)
        if isinstance(value, dict):
            _require_own_attention(value, path)


def _require_shards(content: Any, path: Path) -> None:
    """Check that an index of weights names files beside it, and no others."""
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names:
        raise ModelError(f"{path} must map weights to files in weight_map", argument="model", remedy=_REMEDY)
    for name in names.values():
        if not is_plain(name):
            problem = f"{path} names {shown(name, 120)} as a file of weights, which is none beside it"
            raise ModelError(problem, argument="model", remedy=_REMEDY)


def _require_ranges(content: Any, rules: Mapping[str, Rule], path: Path) -> None:
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold an object", argument="model", remedy=_REMEDY)
    for key, value in content.items():
        if isinstance(value, dict):  # a configuration of CLIP holds those of its two halves
            _require_ranges(value, rules, path)
        if _holds_nan(value):
            raise ModelError(f"{path}: {shown(key, 60)} is not a number (NaN)", argument="model", remedy=_REMEDY)
        if key in rules and value is not None:
            words, fits = rules[key]
            if not (_all(value, fits) if key in _LISTS else fits(value)):
                problem = f"{path}: {key} must be {words}, not {shown(value, 80)}"
                raise ModelError(problem, argument="model", remedy=_REMEDY)
        elif isinstance(value, list) and len(value) > _MOST_TIMESTEPS:
            raise ModelError(f"{path}: {shown(key, 60)} has {len(value)} entries", argument="model", remedy=_REMEDY)
        elif key.endswith("_block_types") and (not isinstance(value, list) or len(value) > _MOST_BLOCKS):
            problem = f"{path}: {shown(key, 60)} must be a list of at most {_MOST_BLOCKS} names"
            raise ModelError(problem, argument="model", remedy=_REMEDY)


def _all(value: Any, fits: Callable[[Any], bool]) -> bool:
    """Tell whether a value, or all those of a list, are in range."""
    if isinstance(value, list):
        return 0 < len(value) <= _MOST_TIMESTEPS and all(one is None or _all(one, fits) for one in value)
    return fits(value)


def _holds_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
