"""Every mode, depth and colour space comes in as the RGB that it is meant to be seen as."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from renoise import images

WHITE = (255, 255, 255)


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + fixed(*values)


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


def curve(values: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(">4s4xI", b"curv", len(values)) + bytes(np.rint(values * 65535).astype(">u2"))


def profile(space: bytes, tags: Mapping[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2: header, table of tags, tags."""
    tags = {b"wtpt": xyz(0.9642, 1.0, 0.8249), **tags}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    header = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x02400000, b"mntr", space, pcs, b"acsp")
    header = header.ljust(68, b"\0") + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def matrix_profile(primaries: tuple[tuple[float, ...], ...], response: bytes) -> bytes:
    tags = {f"{c}XYZ".encode(): xyz(*p) for c, p in zip("rgb", primaries, strict=True)}
    return profile(b"RGB ", tags | {f"{c}TRC".encode(): response for c in "rgb"})


# Their primaries as seen under D50, rounded as in the profiles that cameras and phones embed.
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
LEVELS = np.linspace(0.0, 1.0, 1024)
SRGB_CURVE = curve(np.where(LEVELS <= 0.04045, LEVELS / 12.92, ((LEVELS + 0.055) / 1.055) ** 2.4))


def cmyk_profile() -> bytes:
    """Inks that darken, and black that is Lab (0, 0, 0): a lookup table of 2 x 2 x 2 x 2."""
    ramp = bytes(range(256))
    grid = b""
    for i in range(16):
        cyan, magenta, yellow, black = (i >> 3 & 1, i >> 2 & 1, i >> 1 & 1, i & 1)
        light = 0 if black else 255 - 60 * (cyan + magenta) - 10 * yellow
        grid += bytes([light, 128 if black else 128 + 50 * (magenta - cyan), 128 if black else 128 + 50 * yellow])
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + 4 * ramp + grid + 3 * ramp
    return profile(b"CMYK", {b"A2B0": table}, pcs=b"Lab ")


def saved(picture: Image.Image, suffix: str = "png", **options: Any) -> Image.Image:
    """As it comes back from a file."""
    buffer = io.BytesIO()
    picture.save(buffer, format={"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "webp": "WEBP"}[suffix], **options)
    return Image.open(buffer)


def png(depth: int, kind: int, samples: list[tuple[int, ...]], **chunks: bytes) -> Image.Image:
    """A PNG of one row with samples of 8 or 16 bits, as PIL opens it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    row = b"\0" + np.array(samples, dtype=">u2" if depth == 16 else np.uint8).tobytes()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", len(samples), 1, depth, kind, 0, 0, 0))]
    parts += [(name.encode(), body) for name, body in chunks.items()]
    parts += [(b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)))


def pixels(picture: Image.Image) -> list[Any]:
    loaded = images.load(picture)
    assert loaded.mode == "RGB"
    return [loaded.getpixel((x, 0)) for x in range(loaded.width)]


@pytest.fixture
def colours() -> Image.Image:
    """Every level of every channel, and grey."""
    ramp = np.arange(256, dtype=np.uint8)
    rows = [np.stack([ramp * on for on in channels], axis=-1) for channels in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    return Image.fromarray(np.stack([*rows, np.repeat(ramp[:, None], 3, axis=1)]))


class TestDepths:
    def test_sixteen_bits_of_grey_with_alpha(self) -> None:
        assert pixels(png(16, 4, [(0x1234, 0xFFFF), (0x1234, 0)])) == [(0x12,) * 3, WHITE]

    def test_sixteen_bits_of_colour(self) -> None:
        assert pixels(png(16, 2, [(0x1234, 0x8000, 0xFFFF)])) == [(0x12, 0x80, 0xFF)]
        assert pixels(png(16, 6, [(0x1234, 0, 0, 0xFFFF), (0x1234, 0, 0, 0)])) == [(0x12, 0, 0), WHITE]

    def test_one_bit(self) -> None:
        two = Image.new("1", (2, 1))
        two.putpixel((1, 0), 1)
        for suffix in ("png", "tif"):
            assert pixels(saved(two, suffix)) == [(0, 0, 0), WHITE]


class TestTransparency:
    @pytest.mark.parametrize("depth", [8, 16])
    def test_a_transparent_colour_is_white(self, depth: int) -> None:
        dark, red = (0x12, 0x34, 0x56), (0xFF, 0, 0)
        wide = (lambda c: tuple(257 * v for v in c)) if depth == 16 else tuple
        clear = struct.pack(">HHH", *wide(dark))
        assert pixels(png(depth, 2, [wide(dark), wide(red)], tRNS=clear)) == [WHITE, red]

    @pytest.mark.parametrize("depth", [8, 16])
    def test_a_transparent_grey_is_white(self, depth: int) -> None:
        scale = 257 if depth == 16 else 1
        clear = struct.pack(">H", 5 * scale)
        assert pixels(png(depth, 0, [(5 * scale,), (6 * scale,)], tRNS=clear)) == [WHITE, (6, 6, 6)]

    def test_half_transparent_palette_entries_are_mixed(self) -> None:
        palette = bytes([255, 0, 0, 0, 255, 0])
        first, second = pixels(png(8, 3, [(0,), (1,)], PLTE=palette, tRNS=bytes([128, 255])))
        assert first == pytest.approx((255, 127, 127), abs=1)
        assert second == (0, 255, 0)

    def test_grey_and_alpha(self) -> None:
        assert pixels(png(8, 4, [(9, 255), (9, 0)])) == [(9, 9, 9), WHITE]

    def test_the_callers_picture_stays_as_it_was(self) -> None:
        picture = png(16, 2, [(257, 514, 771)], tRNS=struct.pack(">HHH", 257, 514, 771))
        images.load(picture)
        assert picture.info["transparency"] == (257, 514, 771)


class TestOrientation:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_all_eight(self, suffix: str, orientation: int) -> None:
        upright = np.zeros((16, 32, 3), dtype=np.uint8)
        upright[:8, :16], upright[8:, 16:] = (255, 0, 0), (0, 0, 255)
        # How the sensor saw it: the inverse of what the viewer has to do (orientation 6: turn clockwise).
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright, 1),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture = saved(Image.fromarray(np.ascontiguousarray(stored)), suffix, exif=exif)
        loaded = np.asarray(images.load(picture), dtype=int)
        assert loaded.shape == upright.shape
        assert np.abs(loaded - upright)[4::8, 8::16].max() < 10

    def test_exif_that_cannot_be_read_is_ignored(self, colours: Image.Image) -> None:
        for exif in (b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"):
            assert images.load(saved(colours, exif=exif)).tobytes() == colours.tobytes()


class TestInks:
    def test_cmyk_as_photoshop_writes_it(self) -> None:
        inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
        jpeg = saved(inks, "jpg", quality=95)
        assert jpeg.info["adobe_transform"] in (0, 2)  # the marker that says that all values are inverted
        assert pixels(jpeg)[0] == pytest.approx((255, 0, 0), abs=3)
        assert pixels(saved(inks, "tif"))[0] == (255, 0, 0)

    def test_cmyk_follows_its_profile(self) -> None:
        icc = cmyk_profile()
        for inks, suffix in (((0, 0, 0, 0), "tif"), ((0, 0, 0, 0), "jpg")):
            assert pixels(saved(Image.new("CMYK", (16, 16), inks), suffix, icc_profile=icc))[0] == WHITE
        assert pixels(saved(Image.new("CMYK", (1, 1), (0, 0, 0, 255)), "tif", icc_profile=icc))[0] == (0, 0, 0)
        red, green, blue = pixels(saved(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "tif", icc_profile=icc))[0]
        assert red < 150 < green < 255  # this printer's cyan is a dull one
        assert 150 < blue < 255

    def test_lab(self) -> None:
        assert pixels(Image.new("LAB", (1, 1), (255, 128, 128)))[0] == pytest.approx(WHITE, abs=2)


class TestProfiles:
    @pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
    def test_display_p3_becomes_srgb(self, suffix: str) -> None:
        flat = Image.new("RGB", (16, 16), (200, 100, 50))
        lossless = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "jpg" else {}
        picture = saved(flat, suffix, icc_profile=matrix_profile(DISPLAY_P3, SRGB_CURVE), **lossless)
        # By the matrices: (200, 100, 50) / 255 to linear light, to XYZ, to linear sRGB, and back through the curve.
        assert pixels(picture)[0] == pytest.approx((215, 93, 31), abs=2)

    def test_grey_of_a_colour_profile_stays_grey(self) -> None:
        assert pixels(
            saved(Image.new("RGB", (1, 1), (90,) * 3), icc_profile=matrix_profile(DISPLAY_P3, SRGB_CURVE))
        ) == [(90, 90, 90)]

    def test_adobe_rgb_becomes_srgb(self) -> None:
        picture = saved(
            Image.new("RGB", (1, 1), (200, 100, 50)), icc_profile=matrix_profile(ADOBE_RGB, gamma(563 / 256))
        )
        assert pixels(picture)[0] == pytest.approx((227, 100, 42), abs=2)

    def test_srgb_alters_no_pixel(self, colours: Image.Image) -> None:
        ours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        for icc in (ours, matrix_profile(SRGB, SRGB_CURVE)):
            assert images.load(saved(colours, icc_profile=icc)).tobytes() == colours.tobytes()

    def test_a_plain_gamma_is_not_srgb(self, colours: Image.Image) -> None:
        picture = saved(colours, icc_profile=matrix_profile(SRGB, gamma(2.2)))
        assert images.load(picture).tobytes() != colours.tobytes()

    def test_grey_follows_its_profile(self) -> None:
        linear = profile(b"GRAY", {b"kTRC": gamma(1.0)})
        for mode in ("L", "LA"):
            picture = Image.new(mode, (1, 1), (50, 255) if mode == "LA" else 50)
            assert pixels(saved(picture, icc_profile=linear))[0] == pytest.approx((122,) * 3, abs=1)
        deep = saved(Image.new("I;16", (1, 1), 50 * 257), icc_profile=linear)
        assert pixels(deep)[0] == pytest.approx((122,) * 3, abs=1)

    def test_grey_may_have_a_colour_profile(self) -> None:
        picture = saved(Image.new("L", (1, 1), 77), icc_profile=matrix_profile(SRGB, SRGB_CURVE))
        assert pixels(picture) == [(77, 77, 77)]

    def test_transparency_and_palettes_have_profiles_too(self) -> None:
        icc = matrix_profile(ADOBE_RGB, gamma(563 / 256))
        clear = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
        clear.putpixel((1, 0), (200, 100, 50, 0))
        opaque, hole = pixels(saved(clear, icc_profile=icc))
        assert opaque == pytest.approx((227, 100, 42), abs=2)
        assert hole == WHITE
        palette = Image.new("RGB", (1, 1), (200, 100, 50)).quantize(2)
        assert pixels(saved(palette, icc_profile=icc))[0] == pytest.approx((227, 100, 42), abs=2)

    def test_profiles_that_cannot_be_used_are_ignored(self, colours: Image.Image) -> None:
        good = matrix_profile(DISPLAY_P3, SRGB_CURVE)
        useless = {
            "nonsense": b"nonsense",
            "cut short": good[: len(good) // 2],
            "of inks": cmyk_profile(),
            "of grey": profile(b"GRAY", {b"kTRC": gamma(1.0)}),
            "without tags": profile(b"RGB ", {}),
            "of an unknown space": profile(b"6CLR", {}),
        }
        for name, icc in useless.items():
            assert images.load(saved(colours, icc_profile=icc)).tobytes() == colours.tobytes(), name
        inks = saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "tif", icc_profile=good)
        assert pixels(inks) == [(255, 0, 0)]

    def test_files_have_profiles_as_pictures_do(self, tmp_path: Path) -> None:
        picture = Image.new("RGB", (1, 1), (200, 100, 50))
        picture.save(tmp_path / "wide.png", icc_profile=matrix_profile(ADOBE_RGB, gamma(563 / 256)))
        assert images.load(tmp_path / "wide.png").getpixel((0, 0)) == pytest.approx((227, 100, 42), abs=2)
