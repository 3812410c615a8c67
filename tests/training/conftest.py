"""A made-up work directory of the training scripts: real names, drawings of noise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# The scripts are no part of any package: they lie at the root of the repository, and a source archive lacks them.
sys.path.append(str(ROOT))
collect_ignore_glob = [] if (ROOT / "training" / "__init__.py").exists() else ["test_*.py"]

CONCEPTS = ("cat", "dog", "fox", "automobile", "rocket", "red-apple", "banana", "house")
STYLES = ("noto", "twemoji", "fluent-emoji", "fxemoji", "openmoji")
HELD_OUT_CONCEPT = "fox"
PAIRS = (("cat", "noto"), ("rocket", "twemoji"))
COPIES = (("banana", "noto"),)
BACKGROUNDS = (("dog", "white"), ("automobile", "blue"), ("house", "white"))


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write splits and drawings as `training.data` does: something of each kind is held out."""
    folder = tmp_path_factory.mktemp("work")
    rows = [(concept, style) for concept in CONCEPTS for style in STYLES]
    drawings = np.random.default_rng(0).integers(0, 256, (len(rows), 112, 112, 4), np.uint8)
    np.save(folder / "drawings.npy", drawings)
    (folder / "drawings.json").write_text(json.dumps(rows))
    splits = {
        "concepts": CONCEPTS,
        "held_out_concepts": [HELD_OUT_CONCEPT],
        "held_out_pairs": PAIRS,
        "held_out_backgrounds": BACKGROUNDS,
        "copies": COPIES,
    }
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder
