"""Image files: every format that is read, in several modes, damaged at random or in its header, and what is none."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from PIL import Image

from hostile.values import damaged
from hostile.worker import Case
from renoise.images import load

ROUNDS = 60
# Formats with the modes and options that make different files of each.
SEEDS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("PNG", "RGB", {}),
    ("PNG", "P", {}),
    ("PNG", "I;16", {}),
    ("PNG", "RGBA", {"icc_profile": b"\0" * 128}),
    ("PNG", "1", {}),
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("GIF", "P", {}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "L", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "F", {}),
    ("TIFF", "CMYK", {}),
    ("TGA", "RGBA", {"compression": "tga_rle"}),
    ("PPM", "RGB", {}),
    ("ICO", "RGBA", {"sizes": [(16, 16), (32, 32)]}),
    ("JPEG2000", "RGB", {}),
    ("DDS", "RGBA", {}),
    ("PCX", "RGB", {}),
    ("SGI", "RGB", {}),
    ("ICNS", "RGBA", {}),
    ("IM", "RGB", {}),
    ("MPO", "RGB", {}),
    ("QOI", "RGB", {}),
)


def seed(form: str, mode: str, options: dict[str, object]) -> bytes:
    """Return an honest file of a format."""
    drawn = Image.effect_mandelbrot((36, 28), (-2, -1, 1, 1), 40).resize((64, 64) if form == "ICNS" else (36, 28))
    image = drawn.convert("I;16" if mode == "I;16" else mode)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def psd(channels: int = 3, height: int = 8, width: int = 8, depth: int = 8, mode: int = 3) -> bytes:
    """Return a PSD file with raw pixels."""
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, height, width, depth, mode)
    return head + struct.pack(">III", 0, 0, 0) + struct.pack(">H", 0) + bytes(range(256)) * 4


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """Return a PNG file whose header says what it likes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def bmp(width: int, height: int, bits: int) -> bytes:
    """Return a BMP file whose header says what it likes."""
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0) + b"\0" * 64


def made_up() -> Iterator[tuple[str, bytes]]:
    """Yield files that say what is not so, or are no images."""
    for side in (0, 1, 16_384, 60_000, 2**31 - 1, 2**32 - 1):
        for depth, colour in ((8, 2), (16, 6), (1, 3)):
            yield f"{side} wide, of colour {colour}.png", png(side, 4, depth, colour, b"\0" * 999)
            yield f"{side} square, of colour {colour}.png", png(side, side, depth, colour, b"\0" * 999)
    for side in (0, -1, 16_384, 60_000, 2**31 - 1, -(2**31)):
        for bits in (1, 8, 24, 32):
            yield f"{side} wide, {bits} bits.bmp", bmp(side, 4, bits)
            yield f"{side} square, {bits} bits.bmp", bmp(side, side, bits)
    for number in (0, 1, 60_000, 2**31, 2**32 - 1):
        yield f"{number} wide.psd", psd(width=number)
        yield f"{number} square.psd", psd(width=number, height=number)
        yield f"{number} channels.psd", psd(channels=number % 2**16)
        yield f"mode {number}.psd", psd(mode=number % 2**16)
        yield f"{number}.ppm", f"P6 {number} {number} 255\n".encode()
        yield f"{number} grey levels.pgm", f"P2 4 4 {number}\n1 2 3".encode()
        yield f"{number}.pbm", f"P1 {number} 4\n0 1".encode()
        yield f"{number}.xbm", f"#define x_width {number}\n#define x_height {number}\nstatic char x[] = {{".encode()
    bomb = png(12_000, 12_000, 8, 0, b"\0" * (12_001 * 12_000))
    yield "a bomb within the limit.png", bomb
    yield "a bomb beyond the limit.png", png(40_000, 40_000, 1, 0, b"\0" * 1_000_000)
    text = zlib.compress(b"\0" * 200_000_000)
    chunk = b"zTXtx\0\0" + text
    yield (
        "a bomb of text.png",
        bomb[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + bomb[33:],
    )
    for name in ("png", "jpg", "tif", "webp", "gif", "bmp", "psd", "heic", "svg", "dng", "eps", "mpg", "xpm"):
        for what, content in (
            ("nothing", b""),
            ("a byte", b"\0"),
            ("zeros", b"\0" * 4096),
            ("text", b"just text\n" * 50),
            ("EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch owned) (w) file\nshowpage\n"),
            ("a page", b"<!DOCTYPE html><html></html>"),
            ("a drawing", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>'),
            ("an archive", b"PK\x03\x04" + b"\0" * 100),
        ):
            yield f"{what}.{name}", content


def cases(folder: Path) -> list[Case]:
    """Return every seed, cut short and damaged, and what is made up."""
    found: list[Case] = []
    for number, (form, mode, options) in enumerate(SEEDS):
        data = seed(form, mode, options)
        found.append((f"{form} {mode}", partial(_load, folder, f"honest.{form.lower()}", data)))
        for end in (1, 2, 4, 8, 12, 16, 20, 30, len(data) // 2, len(data) - 1):
            found.append((f"{form} {mode}, its first {end} bytes", partial(_load, folder, "cut", data[:end])))
        for turn in range(ROUNDS):
            draw = random.Random(1000 * number + turn)
            found.append((f"{form} {mode}, damage {turn}", partial(_damaged, folder, data, draw)))
    for turn in range(ROUNDS):
        found.append((f"PSD, damage {turn}", partial(_damaged, folder, psd(), random.Random(turn))))
    found += [(name, partial(_load, folder, name, content)) for name, content in made_up()]
    return found


def _damaged(folder: Path, data: bytes, draw: random.Random) -> None:
    _load(folder, f"damaged{draw.choice(('', '.png', '.tif', '.jpg'))}", damaged(data, draw))


def _load(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    path.write_bytes(data)
    try:
        image = load(path)
        assert image.mode == "RGB"
        assert min(image.size) > 0
        image.getpixel((0, 0))
    finally:
        path.unlink()
