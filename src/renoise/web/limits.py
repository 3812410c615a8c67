"""The bounds of what a client may ask of the page, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields

from renoise.ranges import MOST, store, whole

_LARGEST = 2**40


@dataclass(frozen=True)
class Limits:
    """The most that a client may ask for.

    Attributes:
        upload_bytes: the size of an uploaded file.
        pixels: the pixels of an uploaded image.
        kept_area: how many times the model's own area an image may have that is edited in its own size.
        prompt_length: the characters of a prompt.
        targets: the target prompts of one request.
        steps: the sampler steps.
        iterations: the renoising iterations of each step.
        queue: the requests that wait for the model while another one runs.
        cache_bytes: the size of the inversions that are kept in memory.
        file_seconds: how long a file lies on the server.

    Raises:
        ConfigError: for a limit that is no whole number of at least 1.

    Examples:
        >>> Limits(pixels=1_000_000).pixels
        1000000
    """

    upload_bytes: int = 64 * 2**20
    pixels: int = 40_000_000
    kept_area: int = 4
    prompt_length: int = 2000
    targets: int = 8
    steps: int = 200
    iterations: int = 50
    queue: int = 16
    cache_bytes: int = 512 * 2**20
    file_seconds: int = 3600

    def __post_init__(self) -> None:
        for limit in fields(self):
            most = _LARGEST if limit.name in ("upload_bytes", "cache_bytes", "pixels") else MOST
            store(self, **{limit.name: whole(getattr(self, limit.name), limit.name, 1, most)})
