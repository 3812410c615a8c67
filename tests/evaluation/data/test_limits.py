"""Data sets from strangers: regular files only, of limited size, and images of formats that are read."""

from __future__ import annotations

import io
import json
import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from data_sets import refusal, touch, write_json
from renoise import ImageError
from renoise.evaluation import data

GOOD = {"file": "a.png", "caption": "a cat"}


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
class TestWhatIsNoFile:
    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/null", "/dev/tty"])
    def test_devices_are_not_read(self, device: str) -> None:
        if not Path(device).exists():
            pytest.skip("there is no such device")
        assert "pipe or a device" in refusal(device)

    def test_pipes_are_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert "pipe or a device" in refusal(tmp_path / "pipe")
        for number, name in enumerate(("captions.jsonl", "captions.csv", "a.txt", "a.png")):
            folder = tmp_path / str(number)
            touch(folder, *{"a.png", "a.txt"} - {name})
            (folder / "a.txt").write_text("a cat") if name != "a.txt" else None
            os.mkfifo(folder / name)
            assert refusal(folder)

    @pytest.mark.parametrize("name", ["captions.jsonl", "captions.csv"])
    def test_folders_and_loops_in_place_of_captions(self, tmp_path: Path, name: str) -> None:
        touch(tmp_path, "a.png")
        (tmp_path / name).mkdir()
        assert "is a directory" in refusal(tmp_path)
        (tmp_path / name).rmdir()
        (tmp_path / name).symlink_to(name)
        assert "cannot be opened" in refusal(tmp_path)

    def test_folders_that_hold_themselves(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "a.txt")
        (tmp_path / "a.txt").write_text("a cat")
        (tmp_path / "again").symlink_to(tmp_path)
        (tmp_path / "b.png").symlink_to("b.png")
        assert "b.png" in refusal(tmp_path)
        (tmp_path / "b.png").unlink()
        assert [e.name for e in data.load(tmp_path)] == ["a.png"]

    @pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"])
    def test_saved_data_sets_with_a_pipe_in_them(
        self, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))
        touch(tmp_path, "state.json", f"{name}.other")
        os.mkfifo(tmp_path / name)
        assert "is no regular file" in refusal(tmp_path)


class TestSizes:
    @pytest.mark.parametrize(
        "line",
        [
            '{"file": "a.png", "caption": "' + "x" * 30_000_000 + '"}',
            '{"file": "a.png", "caption": [' + "[]," * 10_000_000 + "0]}",
            '{"file": "a.png", "caption": ' + "[" * 30_000_000,
        ],
        ids=["text", "lists", "depth"],
    )
    def test_a_line_of_thirty_megabytes_is_refused_before_it_is_parsed(self, tmp_path: Path, line: str) -> None:
        touch(tmp_path, "a.png")
        (tmp_path / "captions.jsonl").write_text(f"{json.dumps(GOOD)}\n{line}")
        tracemalloc.start()
        message = refusal(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "line 2, is longer than" in message
        assert peak < 200_000_000

    def test_other_captions_that_are_too_long(self, tmp_path: Path) -> None:
        for number, (name, content) in enumerate(
            {
                "captions.jsonl": json.dumps({**GOOD, "caption": "x" * 30_000}),
                "captions.csv": "file,caption\na.png," + "x" * 30_000,
                "a.txt": "x" * 30_000,
            }.items()
        ):
            folder = tmp_path / str(number)
            touch(folder, "a.png")
            (folder / name).write_text(content)
            assert "longer than 20,000 characters" in refusal(folder)

    def test_texts_that_are_too_large(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png")
        with (tmp_path / "a.txt").open("wb") as file:
            file.truncate(10**11)
        assert "larger than" in refusal(tmp_path)

    @pytest.mark.parametrize("name", ["captions_val2017.json", "pie/mapping_file.json"])
    def test_documents_of_too_many_values_are_refused_before_they_are_parsed(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("[" + "[]," * 8_000_000 + "0]")
        source = path.parent if "pie" in name else path
        tracemalloc.start()
        message = refusal(source)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "more than 8,000,000 values" in message
        assert peak < 200_000_000

    @pytest.mark.parametrize("depth", [500, 900, 990, 5_000, 200_000])
    def test_depth_is_one_line(self, tmp_path: Path, depth: int) -> None:
        nested = "[" * depth + "]" * depth
        touch(tmp_path, "a.png")
        (tmp_path / "captions.jsonl").write_text(f'{{"file": "a.png", "caption": {nested}}}')
        refusal(tmp_path)
        (tmp_path / "captions.jsonl").write_text(nested)
        refusal(tmp_path)
        (tmp_path / "coco.json").write_text(nested)
        refusal(tmp_path / "coco.json")

    def test_lone_surrogates_in_captions(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png")
        for record in ({**GOOD, "caption": "a \ud800"}, {**GOOD, "edits": ["\udce9"]}):
            (tmp_path / "captions.jsonl").write_text(json.dumps(record))
            assert "line 1, " in refusal(tmp_path)
            assert "lone surrogate" in refusal(tmp_path)
        write_json(tmp_path / "captions.jsonl", GOOD)
        assert len(data.load(tmp_path)) == 1


class ImageFeature:
    """The type of a column of images, as the library has it."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class Rows:
    """Rows of the library, which opens the images of a column that is to be decoded."""

    def __init__(self, files: list[bytes], feature: ImageFeature) -> None:
        self.files, self.features = files, {"image": feature, "text": "string"}

    def cast_column(self, name: str, feature: ImageFeature) -> Rows:
        assert name == "image"
        return Rows(self.files, feature)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        feature: Any = self.features["image"]
        assert not feature.decode, "the library would open a file of any format"
        return {"image": {"bytes": self.files[index], "path": None}, "text": "a cat"}


def encoded(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, name)
    return buffer.getvalue()


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[bytes]], Path]:
    def save(files: list[bytes]) -> Path:
        module: Any = ModuleType("datasets")
        module.config, module.Image = SimpleNamespace(HF_HUB_OFFLINE=False), ImageFeature
        module.load_from_disk = lambda folder: Rows(files, ImageFeature())
        monkeypatch.setitem(sys.modules, "datasets", module)
        touch(tmp_path, "state.json")
        return tmp_path

    return save


def test_images_in_tables_are_opened_as_files_are(saved: Callable[[list[bytes]], Path]) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    good, bad, broken = data.load(saved([encoded("PNG"), eps, encoded("JPEG")[:200]]))
    assert good.load().getpixel((4, 4)) == (255, 0, 0)
    # What cannot be read is found when the image is measured, and not the end of the whole set.
    with pytest.raises(ImageError, match="000001 is a PostScript drawing, which is not read"):
        bad.load()
    with pytest.raises(ImageError, match="000002 cannot be read"):
        broken.load()
