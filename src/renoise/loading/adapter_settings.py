"""PEFT's settings of an adapter: beside its file or in the file's header, and what they mean for its layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from peft.utils.other import get_pattern_key
from torch import Tensor

from renoise.errors import ModelError
from renoise.loading.folders import PEFT_SETTINGS, PEFT_WEIGHTS
from renoise.reading import parse_json, read_json

# The settings of PEFT that decide what weights do; the others are about training, or follow from the weights.
_LORA = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_dora", "use_rslora", "lora_bias")
_OTHERS = ("r", "alpha", "rank_pattern", "alpha_pattern")
# The kinds of adapters by their names in PEFT, with the settings that count.
_KINDS = {"LORA": _LORA, "LOHA": _OTHERS, "LOKR": _OTHERS}
# Where diffusers' networks and pipelines write the same settings, with the part of the pipeline before their names.
HEADER = "lora_adapter_metadata"


def settings_of(
    path: Path, header: Mapping[str, str], weights: Mapping[str, Tensor], kinds: Iterable[str]
) -> dict[str, Any] | None:
    """Return PEFT's settings of a file; None if there are none.

    Args:
        path: the file.
        header: what its header says.
        weights: its tensors, of which the largest rank counts.
        kinds: the kinds of adapters that its tensors may be, by PEFT's names.

    Raises:
        ModelError: if the settings are of another kind, or make no sense.
    """
    beside = path.parent / PEFT_SETTINGS
    if path.name == PEFT_WEIGHTS and beside.is_file():
        settings = read_json(beside, ModelError)
    elif HEADER in header:
        settings = parse_json(header[HEADER].encode(), f"the header of {path}", ModelError)
    else:
        return None
    kind = settings.get("peft_type", "LORA") if isinstance(settings, dict) else None
    if kind not in _KINDS:
        raise ModelError(f"{path} is of the kind {kind}, which is not read", argument="lora", remedy="take a LoRA")
    own = {name: settings[name] for name in _KINDS[kind] if settings.get(name) is not None}
    ranks = own.get("rank_pattern", {})
    if kind not in kinds or not isinstance(ranks, dict) or not all(map(_is_rank, (own.get("r"), *ranks.values()))):
        raise ModelError(f"the settings of {path} are not those of a LoRA", argument="lora")
    if kind != "LORA":
        return own
    most = max((weight.shape[0] for name, weight in weights.items() if "_A" in name and weight.ndim > 1), default=1)
    # A rank that no layer has may stand for those that a pattern names; PEFT would make room for it all the same.
    own["rank_pattern"] = {layer: min(rank, most) for layer, rank in ranks.items()}
    return {**own, "r": min(own["r"], most)}


def _is_rank(rank: Any) -> bool:
    return isinstance(rank, int) and not isinstance(rank, bool) and rank > 0


def scales(path: Path, settings: Mapping[str, Any], layers: Iterable[str]) -> dict[str, float]:
    """Return alpha over the rank for layers of a LoHa or LoKr.

    Args:
        path: the file, for messages.
        settings: those of PEFT.
        layers: the paths of the layers in their network.

    Raises:
        ModelError: if the alphas are no numbers.
    """
    ranks, alphas = settings.get("rank_pattern", {}), settings.get("alpha_pattern", {})
    made = {}
    for layer in layers:
        try:
            rank = ranks.get(get_pattern_key(ranks.keys(), layer), settings["r"])
            made[layer] = float(alphas.get(get_pattern_key(alphas.keys(), layer), settings.get("alpha", 8))) / rank
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"the settings of {path} are not those of a LoRA", argument="lora") from error
    return made
