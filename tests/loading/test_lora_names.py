"""The forms in which LoRAs and their strengths are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from renoise import ConfigError, Editor
from renoise.fingerprint import fingerprint, same_model
from renoise.loading.lora_names import asked
from written import folder_of, lora_for


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (None, []),
        ("a", [("a", 1.0)]),
        ("a:0.7", [("a", 0.7)]),
        ("owner/name:-0.5", [("owner/name", -0.5)]),
        ("a:0", [("a", 0.0)]),
        ("a:+1", [("a", 1.0)]),
        ("a:.5", [("a", 0.5)]),
        ("a:2.", [("a", 2.0)]),
        (r"C:\loras\a.safetensors", [(r"C:\loras\a.safetensors", 1.0)]),
        (r"C:\loras\a.safetensors:0.7", [(r"C:\loras\a.safetensors", 0.7)]),
        ("a:b:0.7", [("a:b", 0.7)]),
        ("a:0.7:0.5", [("a:0.7", 0.5)]),
        ("a:x", [("a:x", 1.0)]),
        ("a:", [("a:", 1.0)]),
        (":0.7", [(":0.7", 1.0)]),
        ("a:nan", [("a:nan", 1.0)]),
        ("a:1e3", [("a:1e3", 1.0)]),
        (("a", 0.7), [("a", 0.7)]),
        (("a", 2), [("a", 2.0)]),
        (("a:0.7", 0.5), [("a:0.7", 0.5)]),
        (("a", "b"), [("a", 1.0), ("b", 1.0)]),
        (["a:0.7", ("b", 0.3), Path("c:0.5")], [("a", 0.7), ("b", 0.3), ("c:0.5", 1.0)]),
        (["a", "a"], [("a", 1.0), ("a", 1.0)]),
    ],
)
def test_names_and_strengths_are_told_apart(wanted: Any, meant: list[tuple[str, float]]) -> None:
    assert asked(wanted) == meant


def test_a_file_that_is_called_so_is_that_file(tmp_path: Path) -> None:
    named = tmp_path / "x:0.7"
    assert asked(str(named)) == [(str(tmp_path / "x"), 0.7)]
    named.write_bytes(b"")
    assert asked(str(named)) == [(str(named), 1.0)]
    assert asked(f"{named}:0.5") == [(str(named), 0.5)]


@pytest.mark.parametrize(
    "wanted", [7, 0.7, b"x", [None], {"a": 1}, ("a", float("nan")), ("a", True), [("a", None)], [("a", 0.7, 1)], [[]]]
)
def test_what_names_no_lora_is_refused(wanted: Any) -> None:
    with pytest.raises(ConfigError, match="lora must be"):
        asked(wanted)


def test_a_strength_is_in_force_and_another_is_another_model(tiny: Path) -> None:
    folder = lora_for("sd15", tiny)

    def pipe(*lora: Any) -> Any:
        return Editor.from_pretrained(folder_of("sd15", tiny), device="cpu", lora=list(lora)).pipe

    def change(loaded: Any) -> torch.Tensor:
        layer = loaded.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q
        return torch.stack([layer.get_delta_weight(adapter) for adapter in layer.active_adapters]).sum(0)

    whole = change(pipe(folder))
    assert whole.abs().max() > 0
    loaded = {s: pipe(f"{folder}:{s}") for s in (0.7, -0.7, 0, 1)}
    for strength, adapted in loaded.items():
        torch.testing.assert_close(change(adapted), strength * whole)
    torch.testing.assert_close(change(pipe((folder, 0.5), (folder, -2.0))), -1.5 * whole)
    prints = [fingerprint(adapted) for adapted in loaded.values()]
    assert [[same_model(a, b) for b in prints] for a in prints] == [[a is b for b in prints] for a in prints]
