"""Text from outside, made fit to be shown: what a file name or a prompt may hold can steer a terminal."""

from __future__ import annotations

import codecs
import unicodedata

# As many characters as a reader takes in, and more than the longest path that most systems allow for one name.
LIMIT = 600
# Controls, formats (among them those that turn the direction of text), lone surrogates and the two line separators.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# These formats join emoji and letters, and steer nothing.
_JOINERS = "\u200c\u200d"


def shown(text: object, limit: int = LIMIT) -> str:
    r"""Return text on one line, with its control characters escaped and its middle cut out if it is too long.

    Args:
        text: anything; other than text is turned into it.
        limit: the most characters to return.

    Examples:
        >>> shown("a\x1b[31m\ncat")
        'a\\x1b[31m\\ncat'
        >>> shown("x" * 1000, 11)
        'xxxxx…xxxxx'
    """
    whole = str(text)
    if len(whole) > limit:
        # Cut first, so that long input costs nothing; the end of a path tells as much as its beginning.
        whole = f"{whole[: limit // 2]}…{whole[len(whole) - (limit - 1) // 2 :]}"
    safe = escaped(whole)
    if len(safe) > limit:
        safe = f"{safe[: limit // 2]}…{safe[len(safe) - (limit - 1) // 2 :]}"
    return safe


def seen(value: object, limit: int = 200) -> str:
    """Return a value as a message shows it: as Python writes it, or its class if it cannot be written.

    Examples:
        >>> seen("a cat"), seen(10**5000)
        ("'a cat'", 'int')
    """
    try:
        return shown(repr(value), limit)
    except Exception:  # the value is a stranger's, and what its methods raise is no news to who gave it
        return type(value).__name__


def escaped(text: str) -> str:
    r"""Return text on one line, whole, with its control characters escaped.

    Examples:
        >>> escaped("a\x1b[31m\ncat")
        'a\\x1b[31m\\ncat'
    """
    return "".join(_escaped(character) for character in text)


def encodable(text: str) -> str:
    r"""Return text in which what no encoding holds is escaped: bytes of a file name that are not UTF-8, for example.

    The same name gives the same text each time, and text that is in order is returned as it is.

    Examples:
        >>> encodable(b"caf\xe9.png".decode("utf-8", "surrogateescape"))
        'caf\\xe9.png'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslash-bytes").decode()
    return text


def _bytes_escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    # Python stands in for a byte that is not UTF-8 with a surrogate from U+DC80 on.
    codes = ((ord(character), ord(character) - 0xDC00) for character in part)
    return "".join(f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else f"\\u{code:04x}" for code, byte in codes), error.end


codecs.register_error("backslash-bytes", _bytes_escaped)


def _escaped(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _UNSHOWN:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
