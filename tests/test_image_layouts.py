"""Every layout of pixels comes in right, or is refused: none comes in wrong without a word."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from renoise import ImageError, images

Pixels = npt.NDArray[Any]
HEIGHT, WIDTH = 24, 40


def ramps() -> Pixels:
    """Colours in which every channel, row and column is told from the others."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, WIDTH)
    pixels[..., 1] = np.linspace(0, 255, HEIGHT)[:, None]
    pixels[..., 2] = 80
    return pixels


COLOURS = ramps()
GREY = COLOURS[..., 0]
ALPHA = np.broadcast_to(COLOURS[..., 1], (HEIGHT, WIDTH))


def over_white(pixels: Pixels) -> Pixels:
    opacity = ALPHA[..., None] / 255.0
    result: Pixels = as_rgb(pixels) * opacity + 255.0 * (1.0 - opacity)
    return result


def as_rgb(pixels: Pixels) -> Pixels:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def read(path: Path) -> Pixels | None:
    """The image as it comes in; None if it is refused."""
    try:
        return np.asarray(images.load(path)).astype(float)
    except ImageError:
        return None


def verdict(path: Path, right: Pixels, tolerance: float = 1.0) -> str:
    found = read(path)
    if found is None:
        return "refused"
    assert found.shape == (HEIGHT, WIDTH, 3)
    return "right" if np.abs(found - as_rgb(right)).max() <= tolerance else "wrong"


def scaled(pixels: Pixels, dtype: str) -> Pixels:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (pixels / 255.0).astype(kind)
    return (pixels.astype(np.uint64) * np.iinfo(kind).max // 255).astype(kind)


def kinds() -> Iterator[tuple[str, Pixels, dict[str, Any], Pixels]]:
    """What can be in a TIFF: a name, samples, how they are to be read, and as what they are to be seen."""
    thinned = np.rint(COLOURS * (ALPHA[..., None] / 255.0)).astype(np.uint8)
    yield "rgb", COLOURS, {"photometric": "rgb"}, COLOURS
    yield "grey", GREY, {"photometric": "minisblack"}, GREY
    yield "inverted", GREY, {"photometric": "miniswhite"}, 255 - GREY
    yield "cmyk", np.dstack([255 - COLOURS, 0 * GREY]), {"photometric": "separated"}, COLOURS
    for name, extra, colour in (("clear", "unassalpha", COLOURS), ("thinned", "assocalpha", thinned)):
        right = over_white(COLOURS)
        yield f"rgb {name}", np.dstack([colour, ALPHA]), {"photometric": "rgb", "extrasamples": [extra]}, right
        samples = np.dstack([colour[..., 0], ALPHA])
        yield f"grey {name}", samples, {"photometric": "minisblack", "extrasamples": [extra]}, over_white(GREY)
    unseen = {"photometric": "rgb", "extrasamples": ["unspecified"]}
    yield "rgb and a mask", np.dstack([COLOURS, ALPHA]), unseen, COLOURS


MUST_BE_READ = {
    *(
        ("|u1", name, "contig")
        for name in ("rgb", "grey", "inverted", "cmyk", "rgb clear", "rgb thinned", "grey clear")
    ),
    *(("<u2", name, "contig") for name in ("rgb", "grey", "inverted", "cmyk", "rgb clear", "rgb thinned")),
    *((">u2", name, "contig") for name in ("rgb", "grey", "rgb clear")),
    *(("|u1", name, "separate") for name in ("rgb", "cmyk", "rgb clear")),
    ("<f4", "grey", "contig"),
}


@pytest.mark.parametrize(
    "dtype", ["|u1", "<u2", ">u2", "<u4", ">u4", "|i1", "<i2", ">i2", "<i4", "<f2", "<f4", ">f4", "<f8"]
)
def test_tiffs_of_every_layout(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.tif"
    found: dict[tuple[str, str, str], set[str]] = {}
    storages = [
        {"compression": compression, "predictor": predictor, "tile": tile, "bigtiff": big}
        for compression, predictor in ((None, None), ("zlib", None), ("zlib", True))
        for tile, big in ((None, False), ((16, 16), False), (None, True))
        if not (predictor and dtype[1] == "f")
    ]
    for (name, pixels, told, right), planes, storage in product(kinds(), ("contig", "separate"), storages):
        if pixels.ndim == 2 and planes == "separate":
            continue
        samples = scaled(pixels, dtype)
        layout = {} if pixels.ndim == 2 else {"planarconfig": planes}
        samples = samples.transpose(2, 0, 1) if planes == "separate" else samples
        tifffile.imwrite(path, samples, byteorder=">" if dtype[0] == ">" else "<", **told, **layout, **storage)
        assert tifffile.imread(path).shape == samples.shape
        was = verdict(path, right, 2.0 if "thinned" in name or name == "cmyk" else 1.0)
        assert was != "wrong", (name, planes, storage)
        if not (storage["bigtiff"] and dtype[0] == ">"):
            found.setdefault((dtype, name, planes), set()).add(was)
    for kind, verdicts in found.items():
        if kind in MUST_BE_READ:
            assert verdicts == {"right"}, kind


def tiff(tags: Mapping[int, Sequence[int]], strips: Sequence[bytes], order: str = "<") -> bytes:
    """A TIFF of one image; tags are of 16 bits, but for sizes and places."""
    wide = {256, 257, 273, 278, 279}
    own = {256: [WIDTH], 257: [HEIGHT], 259: [1], 277: [1], 278: [HEIGHT], **tags}
    own |= {273: [0] * len(strips), 279: [len(strip) for strip in strips]}
    start = 8 + 2 + 12 * len(own) + 4
    sizes = {tag: len(values) * (4 if tag in wide else 2) for tag, values in own.items()}
    place = start + sum(size for size in sizes.values() if size > 4)
    own[273] = [place + sum(map(len, strips[:i])) for i in range(len(strips))]
    entries, beside = b"", b""
    for tag, values in sorted(own.items()):
        body = struct.pack(f"{order}{len(values)}{'I' if tag in wide else 'H'}", *values)
        entries += struct.pack(f"{order}HHI", tag, 4 if tag in wide else 3, len(values))
        entries += body.ljust(4, b"\0") if len(body) <= 4 else struct.pack(f"{order}I", start + len(beside))
        beside += body if len(body) > 4 else b""
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(own))
    return head + entries + bytes(4) + beside + b"".join(strips)


def packed(values: Pixels, bits: int) -> bytes:
    """Rows of numbers, each row from a new byte on, the highest bit first."""
    each = values[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(each.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


BACKWARDS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_grey_and_palettes_of_every_depth(tmp_path: Path, bits: int, order: str) -> None:
    top = (1 << bits) - 1
    values = (GREY.astype(np.int64) * top + 127) // 255
    raw = values.astype(f"{order}u2").tobytes() if bits == 16 else packed(values, bits)
    entries = np.random.default_rng(0).integers(0, 256, (3, 1 << min(bits, 8)))
    for photometric, fill, compression in product((0, 1, 3), (1, 2), (1, 8)):
        if photometric == 3 and bits > 8:
            continue
        levels = values * 255.0 / top
        right = entries[:, values].transpose(1, 2, 0) if photometric == 3 else levels if photometric else 255.0 - levels
        tags: dict[int, Sequence[int]] = {258: [bits], 262: [photometric], 266: [fill], 259: [compression]}
        tags |= {320: [257 * int(v) for v in entries.ravel()]} if photometric == 3 else {}
        strip = zlib.compress(raw) if compression == 8 else raw
        (tmp_path / "a.tif").write_bytes(tiff(tags, [strip.translate(BACKWARDS) if fill == 2 else strip], order))
        was = verdict(tmp_path / "a.tif", right)
        assert was != "wrong", (photometric, fill, compression)
        if fill == 1 and (bits <= 8 or (order == "<" and (bits, photometric) != (12, 0))):
            assert was == "right", (photometric, fill, compression)


@pytest.mark.parametrize("compression", [1, 8])
def test_a_palette_of_bytes(tmp_path: Path, compression: int) -> None:
    entries = np.random.default_rng(0).integers(0, 256, (3, 256))
    strip = GREY.tobytes() if compression == 1 else zlib.compress(GREY.tobytes())
    tags = {258: [8], 262: [3], 259: [compression], 320: [int(v) for v in entries.ravel()]}
    (tmp_path / "a.tif").write_bytes(tiff(tags, [strip]))
    assert verdict(tmp_path / "a.tif", entries[:, GREY].transpose(1, 2, 0)) == "right"


def blocks(pixels: Pixels) -> bytes:
    """YCbCr whose colours are of a quarter of its size, as TIFF lays it out."""
    luma, blue, red = pixels[..., 0], pixels[::2, ::2, 1], pixels[::2, ::2, 2]
    four = luma.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).transpose(0, 2, 1, 3).reshape(HEIGHT // 2, WIDTH // 2, 4)
    return np.dstack([four, blue, red]).astype(np.uint8).tobytes()


YCBCR = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
LAB = np.asarray(Image.fromarray(COLOURS).convert("LAB"))
# What is left of the colours after they were written with 8 bits in Lab.
OF_LAB = np.asarray(Image.fromarray(COLOURS).convert("LAB").convert("RGB"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
def test_other_colour_spaces(tmp_path: Path, compression: int, order: str) -> None:
    def told(pixels: Pixels, photometric: int, planes: int = 1, **more: Sequence[int]) -> bytes:
        bands = [pixels.tobytes()] if planes == 1 else [pixels[..., i].tobytes() for i in range(pixels.shape[2])]
        strips = [zlib.compress(band) if compression == 8 else band for band in bands]
        tags: dict[int, Sequence[int]] = {258: [8] * pixels.shape[2], 262: [photometric], 277: [pixels.shape[2]]}
        extra = {int(tag[1:]): values for tag, values in more.items()}
        return tiff({**tags, 259: [compression], 284: [planes], **extra}, strips, order)

    quarter = zlib.compress(blocks(YCBCR)) if compression == 8 else blocks(YCBCR)
    sampled = {258: [8] * 3, 262: [6], 277: [3], 259: [compression]}
    clear, inks = np.dstack([COLOURS, ALPHA]), np.dstack([255 - COLOURS, 0 * GREY])
    files = [
        *(("YCbCr", told(YCBCR, 6, planes, t530=[1, 1]), COLOURS, "refused") for planes in (1, 2)),
        *(("YCbCr", told(YCBCR, 6, planes), COLOURS, "refused") for planes in (1, 2)),
        ("YCbCr of fewer colours", tiff({**sampled, 530: [2, 2]}, [quarter], order), COLOURS, "refused"),
        ("YCbCr of fewer colours", tiff(sampled, [quarter], order), COLOURS, "refused"),
        ("Lab", told(LAB, 8), OF_LAB, "right"),
        ("Lab in planes", told(LAB, 8, 2), COLOURS, "refused"),
        ("Lab of ICC", told(LAB, 9), COLOURS, "refused"),
        *(("an unnamed channel", told(clear, 2, planes), COLOURS, "refused") for planes in (1, 2)),
        ("other inks", told(inks, 5, t332=[2]), COLOURS, "refused"),
        ("an index", told(COLOURS, 2, t346=[1]), COLOURS, "refused"),
        ("alpha of Corel", told(clear, 2, t338=[999]), over_white(COLOURS), "right"),
        ("fax of 8 bits", tiff({258: [8], 262: [1], 259: [3]}, [GREY.tobytes()], order), GREY, "refused"),
        ("grey and alpha in planes", told(np.dstack([GREY, ALPHA]), 1, 2, t338=[2]), over_white(GREY), "refused"),
    ]
    for name, data, right, expected in files:
        (tmp_path / "a.tif").write_bytes(data)
        assert (name, verdict(tmp_path / "a.tif", right, 4.0)) == (name, expected)


COMPRESSED = [
    *product(("tiff_lzw", "packbits", "tiff_adobe_deflate"), ("1", "L", "LA", "RGB", "RGBA", "CMYK", "P", "I;16", "F")),
    *product(("group3", "group4"), ("1",)),
    *product(("jpeg",), ("L", "RGB")),
]


@pytest.mark.parametrize(("compression", "mode"), COMPRESSED)
def test_compressed_tiffs(tmp_path: Path, compression: str, mode: str) -> None:
    made: dict[str, Pixels] = {"I;16": GREY.astype(np.uint16) * 257, "F": GREY.astype(np.float32) / 255}
    image = Image.fromarray(made[mode]) if mode in made else Image.fromarray(COLOURS).convert(mode)
    image.save(tmp_path / "a.tif", compression=compression)
    expected = np.asarray(images.load(image)).astype(float)
    assert verdict(tmp_path / "a.tif", expected, 6.0 if compression == "jpeg" else 1.0) == "right"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_deep_grey_is_turned_once(tmp_path: Path, orientation: int, photometric: str) -> None:
    upright = np.zeros((16, 32), np.uint16)
    upright[:8, :16], upright[8:, 16:] = 30000, 65535
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    values = 65535 - stored if photometric == "miniswhite" else stored
    turned = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(values), photometric=photometric, extratags=turned)
    found = read(tmp_path / "a.tif")
    assert found is not None
    assert np.abs(found[..., 0] - upright / 257.0).max() <= 1


def test_an_opened_tiff_is_looked_at_like_a_file(tmp_path: Path) -> None:
    planes = COLOURS.astype(np.uint16).transpose(2, 0, 1) * 257
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(ImageError, match="the image is a TIFF with separate planes of more than 8 bits"):
        images.load(Image.open(tmp_path / "a.tif"))
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.uint16) * 257, photometric="miniswhite")
    opened = Image.open(tmp_path / "a.tif")
    for _ in range(2):  # the image of the caller stays as it was
        assert np.abs(np.asarray(images.load(opened))[..., 0].astype(int) - (255 - GREY)).max() <= 1


@pytest.mark.parametrize("top", [1, 15, 100, 255, 256, 1023, 4095, 65535])
@pytest.mark.parametrize("brightest", [255, 12])
def test_maps_of_grey_and_colour(tmp_path: Path, top: int, brightest: int) -> None:
    dtype = ">u2" if top > 255 else "u1"
    for kind, pixels in ((b"5", GREY), (b"6", COLOURS)):
        values = (np.minimum(pixels, brightest).astype(np.int64) * top + 127) // 255
        head = b" %d %d %d\n" % (WIDTH, HEIGHT, top)
        plain = b" ".join(b"%d" % value for value in values.ravel())
        bodies = {b"P" + kind: values.astype(dtype).tobytes(), b"P%d" % (int(kind) - 3): plain}
        for magic, body in bodies.items():
            (tmp_path / "a.pgm").write_bytes(magic + head + body)
            assert verdict(tmp_path / "a.pgm", values * 255.0 / top) == "right"


def test_maps_of_floating_point_are_refused(tmp_path: Path) -> None:
    body = (GREY / 255.0).astype("<f4")[::-1].tobytes()
    (tmp_path / "a.pfm").write_bytes(b"Pf %d %d\n-1.0\n" % (WIDTH, HEIGHT) + body)
    with pytest.raises(ImageError, match="linear light"):
        images.load(tmp_path / "a.pfm")


@pytest.mark.parametrize("turned", [0x20, 0x00, 0x30, 0x10])
def test_targas_have_the_opacity_that_they_say(tmp_path: Path, turned: int) -> None:
    blue_first, nothing, all_of_it = COLOURS[..., ::-1], np.zeros_like(GREY), np.full_like(GREY, 255)
    for kind, bits, alpha, samples, right in (
        (2, 24, 0, blue_first, COLOURS),
        (2, 32, 8, np.dstack([blue_first, all_of_it]), COLOURS),
        (2, 32, 8, np.dstack([blue_first, nothing]), np.full_like(COLOURS, 255)),
        (2, 32, 0, np.dstack([blue_first, nothing]), COLOURS),
        (3, 8, 0, GREY, GREY),
        (3, 16, 0, np.dstack([GREY, nothing]), GREY),
        (3, 16, 8, np.dstack([GREY, nothing]), np.full_like(GREY, 255)),
    ):
        stored = samples if turned & 0x20 else samples[::-1]
        stored = stored[:, ::-1] if turned & 0x10 else stored
        head = struct.pack("<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, WIDTH, HEIGHT, bits, turned | alpha)
        (tmp_path / "a.tga").write_bytes(head + np.ascontiguousarray(stored).tobytes())
        assert verdict(tmp_path / "a.tga", right) == "right"


def photoshop(mode: int, *channels: Pixels, bits: int = 8) -> bytes:
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, len(channels), HEIGHT, WIDTH, bits, mode)
    return head + bytes(14) + b"".join(channel.tobytes() for channel in channels)


def test_photoshop_files(tmp_path: Path) -> None:
    planes, path = [COLOURS[..., i] for i in range(3)], tmp_path / "a.psd"
    lab = [LAB[..., 0], LAB[..., 1] ^ 128, LAB[..., 2] ^ 128]
    for data, right, expected in (
        (photoshop(3, *planes), COLOURS, "right"),
        (photoshop(3, *planes, ALPHA), COLOURS, "right"),
        (photoshop(3, *planes, ALPHA, ALPHA), COLOURS, "right"),
        (photoshop(1, GREY), GREY, "right"),
        (photoshop(1, GREY, ALPHA), GREY, "right"),
        (photoshop(8, GREY), GREY, "right"),
        (photoshop(4, *planes, np.full_like(GREY, 255)), COLOURS, "right"),
        (photoshop(9, *lab), OF_LAB, "right"),
        (photoshop(7, *planes), COLOURS, "refused"),
        (photoshop(0, np.packbits(GREY < 128, axis=1), bits=1), np.where(GREY < 128, 0, 255), "refused"),
        (photoshop(3, *(plane.astype(">u2") * 257 for plane in planes), bits=16), COLOURS, "refused"),
    ):
        path.write_bytes(data)
        assert verdict(path, right, 4.0) == expected


def png(kind: int, depth: int, rows: bytes, **chunks: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    parts = [(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, kind, 0, 0, 0))]
    parts += [(name.encode(), body) for name, body in chunks.items()]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def rows_of(samples: Pixels) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in samples)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_transparent_grey_of_few_bits(tmp_path: Path, depth: int) -> None:
    top = (1 << depth) - 1
    values = (GREY.astype(np.int64) * top + 127) // 255
    rows = b"".join(b"\0" + packed(row[None], depth) for row in values)
    for clear in range(top + 1):
        (tmp_path / "a.png").write_bytes(png(0, depth, rows, tRNS=struct.pack(">H", clear)))
        right = np.where(values == clear, 255.0, values * 255.0 / top)
        assert verdict(tmp_path / "a.png", right) == "right"


@pytest.mark.parametrize("clear", [(0x5001, 0x5001, 0x5001), (0x0001, 0x0001, 0x0001)])
def test_a_transparent_colour_of_16_bits(tmp_path: Path, clear: tuple[int, int, int]) -> None:
    samples = np.full((HEIGHT, WIDTH, 3), clear, np.uint16)
    samples[:, ::2] -= 1  # another colour, which has the same upper bytes
    samples[0, 0] = (0xFFFF, clear[1], clear[2])
    rows = rows_of(samples.astype(">u2"))
    right = np.where((samples == clear).all(axis=-1, keepdims=True), 255, samples >> 8).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 16, rows, tRNS=struct.pack(">HHH", *clear)))
    assert verdict(path, right, 0.0) == "right"
    assert np.array_equal(np.asarray(images.load(Image.open(path))), right)


def test_a_transparent_colour_that_was_lost_in_decoding_is_not_guessed(tmp_path: Path) -> None:
    samples = np.full((HEIGHT, WIDTH, 3), 0x5000, np.uint16)
    for clear, expected in ((0x5001, "cannot be told from others; give the path"), (0x5101, "")):
        data = png(2, 16, rows_of(samples.astype(">u2")), tRNS=struct.pack(">HHH", *[clear] * 3))
        (tmp_path / "a.png").write_bytes(data)
        image = Image.open(tmp_path / "a.png")
        image.load()
        if expected:
            with pytest.raises(ImageError, match=expected):
                images.load(image)
        else:
            assert images.load(image).getpixel((0, 0)) == (0x50, 0x50, 0x50)


def test_a_transparent_grey_keeps_its_gamma(tmp_path: Path) -> None:
    values = np.full((HEIGHT, WIDTH), 5, np.int64)
    rows = b"".join(b"\0" + packed(row[None], 4) for row in values)
    said = {"gAMA": struct.pack(">I", 100_000)}
    shades = []
    for more in ({}, {"tRNS": struct.pack(">H", 9)}):
        (tmp_path / "a.png").write_bytes(png(0, 4, rows, **said, **more))
        shades.append(images.load(tmp_path / "a.png").getpixel((0, 0)))
    assert shades[0] == shades[1] != (85, 85, 85)


def linear(pixels: Pixels) -> Pixels:
    light = pixels / 255.0
    return np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 1 / 1.4])
def test_a_png_follows_its_gamma(tmp_path: Path, gamma: float) -> None:
    stored = np.rint(linear(COLOURS) ** gamma * 255).astype(np.uint8)
    said = struct.pack(">I", round(gamma * 100_000))
    (tmp_path / "a.png").write_bytes(png(2, 8, rows_of(stored), gAMA=said))
    assert verdict(tmp_path / "a.png", COLOURS, 7.0) == "right"  # a linear byte has few levels for shadows
    (tmp_path / "a.png").write_bytes(png(2, 8, rows_of(stored), gAMA=said, sRGB=b"\0"))
    assert verdict(tmp_path / "a.png", stored, 0.0) == "right"


@pytest.mark.parametrize("said", [45455, 45454, 45000, 46000, 0, 1, 2**31 - 1])
def test_the_gamma_of_srgb_and_nonsense_alter_no_pixel(tmp_path: Path, said: int) -> None:
    (tmp_path / "a.png").write_bytes(png(2, 8, rows_of(COLOURS), gAMA=struct.pack(">I", said)))
    assert verdict(tmp_path / "a.png", COLOURS, 0.0) == "right"


@pytest.mark.parametrize(
    ("code", "expected"),
    [((1, 13), "right"), ((2, 2), "right"), ((9, 16), "refused"), ((9, 18), "refused"), ((12, 13), "refused")],
)
def test_code_points_of_video(tmp_path: Path, code: tuple[int, int], expected: str) -> None:
    (tmp_path / "a.png").write_bytes(png(2, 8, rows_of(COLOURS), cICP=bytes([*code, 0, 1])))
    assert verdict(tmp_path / "a.png", COLOURS) == expected
    if "AVIF" in Image.SAVE:
        buffer = io.BytesIO()
        Image.fromarray(COLOURS).save(buffer, "AVIF", quality=100, subsampling="4:4:4")
        whole, place = bytearray(buffer.getvalue()), buffer.getvalue().index(b"colrnclx") + 8
        whole[place : place + 4] = struct.pack(">HH", *code)
        (tmp_path / "a.avif").write_bytes(whole)
        assert verdict(tmp_path / "a.avif", COLOURS, 9.0) == expected


@pytest.mark.parametrize("name", ["WEBP", "AVIF", "JPEG2000", "ICO", "PCX", "DDS", "SGI", "QOI", "BMP", "TGA", "PNG"])
def test_other_formats_come_in_right(tmp_path: Path, name: str) -> None:
    Image.init()
    if name not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {name}")
    told: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True, "exact": True}, "AVIF": {"quality": 100}}
    options = told.get(name, {})
    for samples, right in ((COLOURS, COLOURS), (np.dstack([COLOURS, ALPHA]), over_white(COLOURS))):
        if samples.shape[2] == 4 and name in ("PCX", "BMP", "ICO"):
            continue  # they have no opacity, or another size
        Image.fromarray(samples).save(tmp_path / "a", name, **options)
        if name == "ICO":
            loaded, opened = images.load(tmp_path / "a"), Image.open(tmp_path / "a").convert("RGB")
            assert loaded.tobytes() == opened.tobytes()
        else:
            assert verdict(tmp_path / "a", right, 9.0 if name == "AVIF" else 2.0) == "right"
