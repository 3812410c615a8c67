from __future__ import annotations

import os
import time
from pathlib import Path

from renoise.web.sweeping import sweep, sweeping


def test_what_is_old_goes_and_what_is_new_stays(tmp_path: Path) -> None:
    for name in ("old", "new", "mixed", "empty"):
        (tmp_path / name).mkdir()
    files = [tmp_path / "old" / "a", tmp_path / "mixed" / "a", tmp_path / "mixed" / "b", tmp_path / "new" / "a"]
    for path in files:
        path.write_text("x")
    for path in files[:2]:
        os.utime(path, (0, time.time() - 100))
    assert sweep(tmp_path, 50) == 2
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "empty",
        "mixed",
        "mixed/b",
        "new",
        "new/a",
    ]


def test_a_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    assert sweep(tmp_path / "later", 1) == 0


def test_it_goes_on_until_the_block_ends(tmp_path: Path) -> None:
    with sweeping(tmp_path, 0.0, 0.01):
        (tmp_path / "one").mkdir()
        for _ in range(500):
            if not (tmp_path / "one").exists():
                break
            time.sleep(0.01)
    assert not (tmp_path / "one").exists()
    (tmp_path / "two").mkdir()
    time.sleep(0.05)
    assert (tmp_path / "two").exists()
