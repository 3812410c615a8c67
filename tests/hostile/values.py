"""Hostile values, and ways to put them into JSON documents and into bytes; every other file here draws on them."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Iterator, Mapping
from typing import Any

# The keys and indices that lead to a value in a JSON document.
Place = tuple[str | int, ...]


def nested(levels: int) -> Any:
    """Return lists within lists."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


# Values that a field of a JSON document may be given in place of its own, by what they are called in reports.
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "three": 3,
    "billion": 10**9,
    "2**31": 2**31,
    "2**63": 2**63,
    "2**64 as float": 2.0**64,
    "hundred digits": 10**100,
    "half": 0.5,
    "minus half": -0.5,
    "smallest": 5e-324,
    "largest": 1.7e308,
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "empty text": "",
    "text": "junk",
    "escapes": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "lines": "one\ntwo\r\nthree\u2028four",
    "nul": "a\x00b",
    "surrogate": "\ud800",
    "turned": "\u202etxt.exe",
    "long text": "x" * 10_000,
    "path": "../../../../../../etc/passwd",
    "format": "%s%n{0}{x.__class__}",
    "number as text": "1",
    "formula": '=HYPERLINK("http://x")',
    "empty list": [],
    "empty object": {},
    "list": [1, 2, 3],
    "texts": ["a", "b"],
    "list of null": [None],
    "object": {"a": 1},
    "class": {"__class__": "os.system", "_class_name": ["os", "system"]},
    "nested": nested(60),
    "deep": nested(500),
    "many": [0] * 3000,
}


def places(document: Any, so_far: Place = ()) -> Iterator[Place]:
    """Yield the places of all values in a document, the document itself first; of a list's the first three."""
    yield so_far
    inner: Any = ()
    if isinstance(document, dict):
        inner = document.items()
    elif isinstance(document, list):
        inner = list(enumerate(document))[:3]
    for key, value in inner:
        yield from places(value, (*so_far, key))


def put(document: Any, place: Place, value: Any) -> Any:
    """Return a copy of a document with another value at a place."""
    if not place:
        return value
    changed = copy.deepcopy(document)
    _holder(changed, place)[place[-1]] = value
    return changed


def without(document: Any, place: Place) -> Any:
    """Return a copy of a document that lacks the value at a place."""
    changed = copy.deepcopy(document)
    del _holder(changed, place)[place[-1]]
    return changed


def _holder(document: Any, place: Place) -> Any:
    for key in place[:-1]:
        document = document[key]
    return document


def documents(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield a document with every value in turn replaced by each hostile value, or taken out, each with its name."""
    for place in places(document):
        where = ".".join(map(str, place)) or "all of it"
        for name, value in VALUES.items():
            yield f"{where} = {name}", put(document, place, value)
        if place:
            yield f"no {where}", without(document, place)
        if isinstance(document, dict) and len(place) == 1:
            yield f"{where} twice", {**document, f"{place[0]} ": document[place[0]]}


def within(document: Any, part: Place, values: Mapping[str, Any] = VALUES) -> Iterator[tuple[str, Any]]:
    """Yield a document with every value of one of its parts in turn replaced by each hostile value."""
    for place in places(document):
        if place[: len(part)] == part:
            for name, value in values.items():
                yield f"{'.'.join(map(str, place))} = {name}", put(document, place, value)


def texts(document: Any) -> Iterator[tuple[str, bytes]]:
    """Yield JSON texts that are damaged or absurd as texts."""
    text = json.dumps(document)
    yield "empty", b""
    yield "blank", b" \n\t "
    yield "nul", b"\0" * 100
    yield "a mark and nothing", b"\xef\xbb\xbf"
    yield "in UTF-16", text.encode("utf-16")
    yield "not in UTF-8", text.encode() + b"\xff\xfe"
    yield "cut short", text[: len(text) // 2].encode()
    yield "more behind it", f"{text}{text}".encode()
    yield "100,000 deep", b"[" * 100_000
    yield "100,000 objects deep", b'{"a":' * 100_000
    yield "5,000 digits", ('{"a": ' + "9" * 5000 + "}").encode()
    yield "a key twice", (text[:-1] + ', "a": 1, "a": 2}').encode() if text.endswith("}") else b"{}"
    yield "a page of HTML", b"<!DOCTYPE html><html><title>404 Not Found</title></html>"
    yield "a pickle", b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."


def as_json(document: Any) -> bytes:
    """Return a document as text in which lone surrogates, NaN and infinity are written as Python writes them."""
    return json.dumps(document).encode()


_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one to four damages, more often at the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if not changed:
            break
        end = len(changed) if draw.random() < 0.5 else min(len(changed), 96)
        at = draw.randrange(end)
        sort = draw.randrange(7)
        if sort == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif sort == 1:
            changed[at] = draw.randrange(256)
        elif sort == 2:
            number = struct.pack(draw.choice(("<H", ">H", "<I", ">I")), 0)
            width = len(number)
            order = draw.choice(("little", "big"))
            value = draw.choice(_NUMBERS) % (1 << (8 * width))
            changed[at : at + width] = value.to_bytes(width, "little" if order == "little" else "big")
        elif sort == 3:
            del changed[at:]
        elif sort == 4:
            del changed[at : at + draw.randrange(1, 65)]
        elif sort == 5:
            changed[at:at] = draw.randbytes(draw.randrange(1, 65))
        else:
            changed[at:at] = changed[at : at + draw.randrange(1, 257)]
    return bytes(changed)
