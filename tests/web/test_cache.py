from __future__ import annotations

from dataclasses import replace
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from renoise.config import InversionConfig
from renoise.web.cache import Inversions, Known, key_of

PRINT = {"layout": "a", "weights": [1.0], "adapters": ""}
CONFIG = InversionConfig()


def known(size: int) -> Known:
    """Something of so many bytes: the image has three of them."""
    inversion: Any = SimpleNamespace(nbytes=size - 3)
    return Known(inversion, None, Image.new("RGB", (1, 1)), None, 0.0)


def test_what_was_used_least_recently_is_forgotten_first() -> None:
    cache = Inversions(100)
    for name in "abc":
        cache.put(name, known(30))
    cache.get("a")
    cache.put("d", known(30))
    assert [name for name in "abcd" if cache.get(name) is not None] == ["a", "c", "d"]
    assert (len(cache), cache.nbytes) == (3, 90)


def test_what_is_larger_than_the_cache_is_not_kept_and_drives_nothing_out() -> None:
    cache = Inversions(100)
    cache.put("a", known(50))
    cache.put("b", known(101))
    assert cache.get("b") is None
    assert cache.get("a") is not None


def test_one_that_is_put_again_counts_once() -> None:
    cache = Inversions(100)
    for _ in range(5):
        cache.put("a", known(60))
    assert cache.nbytes == 60


def test_threads_leave_it_within_its_bound() -> None:
    cache = Inversions(100)

    def work(name: str) -> None:
        for i in range(200):
            cache.put(f"{name}{i % 7}", known(30))
            cache.get(f"{name}{i % 5}")

    threads = [Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.nbytes <= 100


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "a dog"},
        {"negative_prompt": "blur"},
        {"config": replace(CONFIG, seed=1)},
        {"config": replace(CONFIG, num_steps=8)},
        {"fit": "pad"},
        {"fingerprint": {**PRINT, "adapters": "lora"}},
        {"image": Image.new("RGB", (4, 2), "red")},
        {"image": Image.new("RGB", (2, 4), "blue")},
    ],
)
def test_all_that_decides_an_inversion_is_in_its_key(other: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "image": Image.new("RGB", (2, 4), "red"),
        "prompt": "a cat",
        "negative_prompt": None,
        "config": CONFIG,
        "fit": "crop",
        "fingerprint": PRINT,
    }
    assert key_of(**given) == key_of(**{**given, "image": given["image"].copy()})
    assert key_of(**given) != key_of(**{**given, **other})
