"""Text from outside is shown on one line, without anything that steers a terminal."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renoise.errors import ConfigError
from renoise.escaping import encodable, escaped, seen, shown


@pytest.mark.parametrize("text", ["a cat", "une chatte à l'été", "一只猫", "👩‍🚀", "a\u200dَ"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("caf\udce9", r"caf\udce9"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text(st.characters(codec=None), max_size=400), st.integers(1, 100))
def test_any_text_becomes_a_short_printable_line(text: str, limit: int) -> None:
    line = shown(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in line)
    line.encode()


def test_long_text_keeps_its_beginning_and_its_end() -> None:
    start = time.process_time()
    line = shown("a" * 10_000_000 + "z.png", 100)
    assert line.startswith("aaa")
    assert line.endswith("z.png")
    assert len(line) == 100
    assert time.process_time() - start < 1.0


def test_errors_show_names_escaped_and_cut() -> None:
    error = ConfigError(f"the file {'x' * 5000}\x1b[2J is bad", remedy="name \x07 another")
    for message in (str(error), error.told()):
        assert "\x1b" not in message
        assert "\x07" not in message
        assert len(message) < 1300
        assert message.endswith(r"name \x07 another")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"cat.png", "cat.png"),
        ("h\u00fcndchen \U0001f436.png".encode(), "h\u00fcndchen \U0001f436.png"),
        (b"caf\xe9.png", "caf\\xe9.png"),
        (b"\xff\xfe\x80", "\\xff\\xfe\\x80"),
    ],
)
def test_names_of_any_bytes_can_be_written(name: bytes, expected: str) -> None:
    text = name.decode("utf-8", "surrogateescape")
    assert encodable(text) == expected
    assert encodable(encodable(text)) == expected
    assert encodable("a\ud800") == "a\\ud800"


def test_a_whole_text_is_escaped_and_not_cut() -> None:
    assert escaped("a\x1b" * 1000) == r"a\x1b" * 1000


def test_a_value_that_cannot_be_written_is_told_by_its_class() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise ValueError("no")

    assert (seen(Silent()), seen(10**5000), seen([Silent()])) == ("Silent", "int", "list")
    assert len(seen("x" * 5000)) == 200
