"""The seed of each row, which follows from the job's seed and the row's id alone."""

from __future__ import annotations

import hashlib


def seed_of(id_: str, seed: int) -> int:
    """Return a row's seed, a whole number of at most 63 bits.

    Args:
        id_: the row's id.
        seed: the job's seed.

    Examples:
        >>> seed_of("cat", 0) == seed_of("cat", 0), seed_of("cat", 0) == seed_of("cat", 1)
        (True, False)
    """
    digest = hashlib.sha256(f"{seed}:{id_}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
