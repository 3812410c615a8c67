"""What the README tells a newcomer to run does what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_demo_names_the_pictures_that_it_writes(tmp_path: Path) -> None:
    out = run("examples/demo.py", "--out", tmp_path / "demo")
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert written == {"source.png", "reconstruction.png", "edit-1.png", "edit-2.png", "edit-3.png", "comparison.png"}
    for name in written:
        assert str(tmp_path / "demo" / name) in out
        with Image.open(tmp_path / "demo" / name) as picture:
            assert picture.size == (128, 128) or name == "comparison.png"


def test_the_edit_grid(tmp_path: Path) -> None:
    run("examples/edit_grid.py", "--limit", "1", "--out", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 5 * 128


def test_the_table_of_reconstruction() -> None:
    given = ("--limit", "2", "--steps", "4", "--iterations", "0", "4", "--presets", "fast")
    out = run("benchmarks/reconstruction.py", *given)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")][2:]
    assert [(r[0], int(r[1]), int(r[4])) for r in rows[1:]] == [("K = 0", 4, 4), ("K = 4", 4, 20)]
    assert rows[0][:2] == ["`fast`", "50"]
    assert float(rows[0][3]) > float(rows[2][3]) > float(rows[1][3])


def test_the_cost_beside_the_passes() -> None:
    options = ("--presets", "reverse", "--batches", "1", "--repeats", "1", "--sections", "shares", "profile", "memory")
    out = run("benchmarks/overhead.py", "--models", "mini-turbo", *options)
    rows = [line.split("|")[1:-1] for line in out.splitlines() if line.startswith("| mini-turbo | ")]
    shares, memory = ([cell.strip() for cell in cells] for cells in rows)
    assert shares[:4] == ["mini-turbo", "reverse", "1", "4"]
    assert 0.0 < float(shares[6]) < float(shares[5]) < 100.0
    # Nothing is kept that is not in the result.
    held, left, result = (float(cell) for cell in memory[3:])
    assert held > left == result > 0.0
