"""Which files are images, of which frame, and one line for each that is none."""

from __future__ import annotations

import ast
import io
import os
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import EpsImagePlugin, GifImagePlugin, Image, PngImagePlugin

from renoise import ImageError, images
from renoise.errors import ImageWarning

RED, BLUE = (255, 0, 0), (0, 0, 255)


def refused(path: Path) -> str:
    """The one line that says why."""
    with pytest.raises(ImageError) as caught:
        images.load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def warnings_of(path: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images.load(path)
    assert all(warning.category is ImageWarning for warning in caught)
    return [str(warning.message) for warning in caught]


def animation(path: Path, frames: int = 3, **options: Any) -> Path:
    colours = [RED, BLUE, (0, 255, 0)]
    first, *rest = [Image.new("RGB", (16, 16), colour) for colour in colours[:frames]]
    first.save(path, save_all=True, append_images=rest, **options)
    return path


@pytest.mark.filterwarnings("ignore::renoise.errors.ImageWarning")
class TestFrames:
    @pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
    def test_the_first_is_taken_and_said(self, tmp_path: Path, suffix: str) -> None:
        path = animation(tmp_path / f"moving.{suffix}")
        assert warnings_of(path) == [f"{path} holds 3 frames; the first is taken"]
        red, green, blue = images.load(path).getpixel((8, 8))  # type: ignore[misc]
        assert (red, green < 5, blue < 5) == (255, True, True)

    @pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "jpg", "bmp"])
    def test_one_frame_is_nothing_to_speak_of(self, tmp_path: Path, suffix: str) -> None:
        Image.new("RGB", (8, 8), RED).save(tmp_path / f"still.{suffix}")
        assert warnings_of(tmp_path / f"still.{suffix}") == []

    def test_the_preview_that_phones_store_is_no_frame(self, tmp_path: Path) -> None:
        path = animation(tmp_path / "phone.jpg", frames=2, format="MPO")
        assert Image.open(path).format == "MPO"
        assert warnings_of(path) == []

    def test_frames_that_cannot_be_counted_are_not_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = animation(tmp_path / "moving.gif")

        def fail(picture: Any) -> int:
            raise struct.error("unpack requires a buffer of 4 bytes")

        monkeypatch.setattr(GifImagePlugin.GifImageFile, "n_frames", property(fail))
        assert warnings_of(path) == []
        assert images.load(path).getpixel((8, 8)) == RED

    def test_a_later_frame_may_be_damaged(self, tmp_path: Path) -> None:
        path = animation(tmp_path / "moving.gif")
        path.write_bytes(path.read_bytes()[:-30])
        assert images.load(path).getpixel((8, 8)) == RED

    @pytest.mark.parametrize(("options", "around"), [({"transparency": 0}, (255, 255, 255)), ({"background": 0}, BLUE)])
    def test_around_a_first_frame_smaller_than_the_canvas(
        self, tmp_path: Path, options: dict[str, int], around: tuple[int, int, int]
    ) -> None:
        picture = Image.new("P", (3, 3), 1)
        picture.putpalette([*BLUE, *RED])
        picture.putpixel((0, 0), 0)
        buffer = io.BytesIO()
        picture.save(buffer, "GIF", optimize=False, **options)
        whole = bytearray(buffer.getvalue())
        whole[6:10] = struct.pack("<HH", 8, 8)
        descriptor = whole.index(b",\0\0\0\0\3\0\3\0")
        whole[descriptor + 1 : descriptor + 5] = struct.pack("<HH", 2, 2)
        (tmp_path / "small.gif").write_bytes(whole)
        loaded = images.load(tmp_path / "small.gif")
        assert loaded.size == (8, 8)
        assert [loaded.getpixel((i, i)) for i in (0, 2, 3, 7)] == [around, around, RED, around]


class TestWhatIsNoFile:
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this file system")
    def test_pipes_are_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        assert "pipe or a device" in refused(tmp_path / "pipe.png")

    @pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
    def test_devices_are_not_read(self) -> None:
        assert "pipe or a device" in refused(Path("/dev/zero"))

    def test_links_that_lead_back_to_themselves(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").symlink_to("b.png")
        (tmp_path / "b.png").symlink_to("a.png")
        assert "a.png cannot be opened" in refused(tmp_path / "a.png")

    def test_links_that_lead_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").symlink_to("gone.png")
        assert "there is no file" in refused(tmp_path / "a.png")

    def test_files_below_files(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"x")
        assert "cannot be opened" in refused(tmp_path / "a.png" / "b.png")

    def test_files_that_may_not_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "secret.png"
        Image.new("RGB", (4, 4)).save(path)

        def deny(*args: object, **kwargs: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "open", deny)  # the superuser of a test machine may read everything
        assert refused(path) == f"{path} cannot be opened: Permission denied; check its permissions"


class TestOtherFormats:
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("photo.heic", "HEIC, which is not read here; convert it to JPEG or PNG"),
            ("photo.HEIF", "HEIF, which is not read here; convert it to JPEG or PNG"),
            ("photo.avif", "no AVIF that can be read here; convert it to JPEG or PNG"),
            ("drawing.svg", "export it as PNG"),
            ("page.pdf", "export its page as PNG"),
            ("photo.xyz", "give a PNG, JPEG, WebP, BMP, GIF or TIFF"),
        ],
    )
    def test_they_are_refused_by_name(self, tmp_path: Path, name: str, words: str) -> None:
        (tmp_path / name).write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 9)
        assert words in refused(tmp_path / name)

    def test_a_name_does_not_make_a_format(self, tmp_path: Path) -> None:
        Image.new("RGB", (4, 4), RED).save(tmp_path / "photo.heic", format="PNG")
        assert images.load(tmp_path / "photo.heic").getpixel((0, 0)) == RED

    def test_the_preview_in_a_raw_file_is_not_taken_for_the_photograph(self, tmp_path: Path) -> None:
        Image.new("RGB", (16, 12), RED).save(tmp_path / "photo.dng", format="TIFF")
        assert "develop it to TIFF, PNG or JPEG" in refused(tmp_path / "photo.dng")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) print\n%%EOF\n"
DOS_EPS = struct.pack("<4sIIIIIIH", b"\xc5\xd0\xd3\xc6", 30, len(EPS), 0, 0, 0, 0, 0xFFFF) + EPS
NEVER_OPENED = {
    "eps": EPS,
    "eps of DOS": DOS_EPS,
    "eps after blanks": b"\n\n" + EPS,
    "postscript": b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
    "pdf": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n",
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhHIH", 0, 0, 8, 8, 72, 0, 0) + b"\x01\x00\x09\x00" + bytes(40),
    "emf": b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(60),
    "bufr": b"BUFR" + bytes(60),
    "grib": b"GRIB\0\0\0\x01" + bytes(60),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "iptc with eps in it": b"\x1c\x03\x3c\0\x01\x01\x1c\x03\x14\0\x01\x08\x1c\x08\x0a"
    + struct.pack(">H", len(EPS))
    + EPS,
    "fits": b"SIMPLE  =                    T" + bytes(60),
    "mpeg": b"\0\0\x01\xb3\x01\0\x10" + bytes(60),
    "xbm": b"#define x_width 8\n#define x_height 1\nstatic char x_bits[] = {0x00};\n",
}


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others on the path, whose programs leave a trace when they run; and none may be started."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("gs", "gswin32c", "djpeg", "convert", "ppmtogif"):
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> {folder / 'started'}\nexit 0\n")
        (folder / name).chmod(0o755)

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError(f"a program was started: {args}")

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr("os.system", refuse)
    return folder


class TestNoProgramIsStarted:
    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps", "a.ps", "a.tif", "a"])
    @pytest.mark.parametrize("content", NEVER_OPENED.values(), ids=NEVER_OPENED)
    def test_by_no_file_whatever_it_is_called(
        self, tmp_path: Path, no_programs: Path, name: str, content: bytes
    ) -> None:
        (tmp_path / name).write_bytes(content)
        message = refused(tmp_path / name)
        assert "which is not read" in message or "not an image that can be read" in message
        assert not (no_programs / "started").exists()

    def test_by_what_is_inside_a_container(self, tmp_path: Path, no_programs: Path) -> None:
        inside = {
            "icon.ico": struct.pack("<HHHBBBBHHII", 0, 1, 1, 8, 8, 0, 0, 1, 32, len(EPS), 22) + EPS,
            "icon.icns": b"icns" + struct.pack(">I", 16 + len(EPS)) + b"ic07" + struct.pack(">I", 8 + len(EPS)) + EPS,
            "photo.mpo": b"\xff\xd8\xff\xe2" + struct.pack(">H", 2 + len(EPS)) + EPS,
        }
        for name, content in inside.items():
            (tmp_path / name).write_bytes(content)
            refused(tmp_path / name)
        assert not (no_programs / "started").exists()

    def test_by_an_image_that_was_opened_before(self, tmp_path: Path, no_programs: Path) -> None:
        (tmp_path / "a.png").write_bytes(EPS)
        opened = Image.open(tmp_path / "a.png")
        assert opened.format == "EPS"
        with pytest.raises(ImageError, match="the image is of the format EPS, which is not read"):
            images.load(opened)
        assert not (no_programs / "started").exists()

    def test_no_code_opens_an_image_without_naming_formats(self) -> None:
        root = Path(__file__).parents[1]
        folders = [
            Path(images.__file__).parent,
            *(root / name for name in ("packages", "examples", "benchmarks", "training")),
        ]
        calls = [
            (path, ast.unparse(node))
            for folder in folders
            for path in sorted(folder.rglob("*.py"))
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open")
        ]
        assert calls
        assert [call for call in calls if "formats=" not in call[1]] == []


class TestPlainness:
    def test_larger_files_are_not_read(self, tmp_path: Path) -> None:
        with (tmp_path / "huge.png").open("wb") as file:
            file.truncate(10**12)
        assert "too large: 1,000,000,000,000 bytes" in refused(tmp_path / "huge.png")

    def test_names_are_shown_in_one_line_without_controls(self, tmp_path: Path) -> None:
        assert "\x1b" not in refused(tmp_path / "a\x1b[31m\nb.png")
        assert len(refused(Path("x" * 5000 + ".png"))) < 1500


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


class TestBombs:
    @pytest.mark.parametrize(
        ("kind", "before"), [(b"iCCP", b"profile\0\0"), (b"zTXt", b"comment\0\0"), (b"iTXt", b"comment\0\1\0\0\0")]
    )
    def test_what_is_hidden_in_a_compressed_chunk_is_not_unpacked(
        self, tmp_path: Path, kind: bytes, before: bytes
    ) -> None:
        Image.new("RGB", (4, 4)).save(tmp_path / "bomb.png")
        whole = (tmp_path / "bomb.png").read_bytes()
        hidden = chunk(kind, before + zlib.compress(bytes(20_000_000)))
        (tmp_path / "bomb.png").write_bytes(whole[:33] + hidden + whole[33:])
        assert "cannot be read as an image" in refused(tmp_path / "bomb.png")


class TestDamage:
    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tif", "ico", "tga", "ppm"])
    def test_whatever_the_damage_it_is_a_picture_or_one_line(self, tmp_path: Path, suffix: str) -> None:
        choose = random.Random(suffix)
        picture = Image.effect_mandelbrot((24, 20), (-2, -1, 1, 1), 30).convert("RGB")
        picture.save(tmp_path / f"whole.{suffix}")
        whole = (tmp_path / f"whole.{suffix}").read_bytes()
        read, messages = 0, []
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(choose.choice([1, 2, 8])):
                damaged[choose.randrange(min(len(whole), choose.choice([40, 200, len(whole)])))] = choose.randrange(256)
            if choose.random() < 0.3:
                damaged = damaged[: choose.randrange(1, len(damaged))]
            path = tmp_path / f"damaged.{suffix}"
            path.write_bytes(damaged)
            try:
                read += images.load(path).mode == "RGB"
            except ImageError as error:
                messages.append(str(error))
        assert 0 < read == 150 - len(messages)
        assert not any("\n" in message for message in messages)

    @pytest.mark.parametrize(
        "make", [lambda error: error, lambda error: error("a\nb")], ids=["without words", "of two lines"]
    )
    @pytest.mark.parametrize("kind", [struct.error, IndexError, KeyError, TypeError, ZeroDivisionError, RuntimeError])
    def test_decoders_may_raise_anything(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], make: Callable[[Any], Any]
    ) -> None:
        Image.new("RGB", (4, 4)).save(tmp_path / "a.bmp")

        def fail(picture: Any) -> None:
            raise make(kind)

        monkeypatch.setattr(Image.Image, "load", fail)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
        assert "damaged or cut short" in refused(tmp_path / "a.bmp")


def test_what_a_program_has_taught_pil_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Taught(PngImagePlugin.PngImageFile):
        format = "HEIF"

    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    path = tmp_path / "a.heic"
    path.write_bytes(b"HEIC" + (tmp_path / "a.png").read_bytes())
    with pytest.raises(ImageError, match="is HEIC, which is not read here"):
        images.load(path)

    def taught(file: Any, name: str) -> Image.Image:
        return Taught(io.BytesIO(file.read()[4:]))

    Image.init()
    monkeypatch.setitem(Image.OPEN, "HEIF", (taught, lambda prefix: prefix.startswith(b"HEIC")))
    assert images.load(path).getpixel((0, 0)) == (255, 0, 0)
    with Image.open(path, formats=["HEIF"]) as opened:
        assert images.load(opened).getpixel((0, 0)) == (255, 0, 0)
