"""Tiny pipelines in hub layout with random weights, and images, for every test."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import Editor

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    # The pipelines are so small that threads only get into each other's way, also in the processes that tests start.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@cache
def _pipeline(model: str) -> Any:
    return Editor.from_pretrained(DATA / model, device="cpu", dtype="float32").pipe


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture
def make_editor() -> Callable[..., Editor]:
    """An editor on a tiny pipeline of its own, with a scheduler made from the pipeline's configuration."""

    def make(model: str = "tiny-sd", scheduler: str | None = None, **changes: Any) -> Editor:
        import diffusers

        # Copied, because that is faster than reading it again for each of many hundred tests.
        editor = Editor(copy.deepcopy(_pipeline(model)), name=str(DATA / model))
        if scheduler is not None:
            changes = {"clip_sample": False, **changes}
            made = getattr(diffusers, scheduler).from_config(editor.pipe.scheduler.config, **changes)
            editor.pipe.scheduler = made
        return editor

    return make


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny pipelines are written."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub cannot be reached."""

    def ask(*args: Any, **options: Any) -> Any:
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr("huggingface_hub.model_info", ask)


@pytest.fixture
def editor(make_editor: Callable[..., Editor]) -> Editor:
    return make_editor()


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP model with random weights, as transformers saves one."""
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = AutoTokenizer.from_pretrained(DATA / "tiny-sd" / "tokenizer")
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(
            CLIPConfig(
                text_config={**shape, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": 24},
                vision_config={**shape, "image_size": 32, "patch_size": 8},
                projection_dim=8,
            )
        )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny vision transformer with random weights, as transformers saves one."""
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("dino")
    config = ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def picture() -> Image.Image:
    """A smooth image with some detail, 100 x 80."""
    y, x = np.mgrid[0:80, 0:100] / 100.0
    red, green, blue = 0.5 + 0.5 * np.sin(9 * x), y, (x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.05
    return Image.fromarray((np.stack([red, green, blue], axis=-1) * 255).astype(np.uint8))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many hostile inputs there were, and how they ended (tests/hostile)."""
    reports = [one for some in terminalreporter.stats.values() for one in some if getattr(one, "when", "") == "call"]
    counts: Counter[str] = Counter()
    for name, count in (pair for report in reports for pair in report.user_properties):
        if name.startswith("hostile "):
            counts[name] += count
    for name, count in sorted(counts.items()):
        terminalreporter.write_line(f"{name} {count:,}")
