"""What costs time to look up is looked up once in a call, and again in the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from renoise import Editor, InversionConfig, Renoising
from renoise.lookups import once, remembering


def counting() -> tuple[list[int], Callable[[], int]]:
    asked: list[int] = []

    def find() -> int:
        asked.append(1)
        return len(asked)

    return asked, find


def test_outside_of_calls_nothing_is_remembered() -> None:
    _, find = counting()
    assert [once(find, "x", find), once(find, "x", find)] == [1, 2]


def test_a_call_remembers_until_its_end_by_owner_and_name() -> None:
    _, find = counting()
    owner, other = object(), object()
    with remembering():
        with remembering():
            assert [once(owner, "x", find), once(owner, "x", find)] == [1, 1]
        assert [once(owner, "x", find), once(owner, "y", find), once(other, "x", find)] == [1, 2, 3]
    assert once(owner, "x", find) == 4
    with pytest.raises(ZeroDivisionError), remembering():
        raise ZeroDivisionError
    assert once(owner, "x", find) == 5


def test_what_fails_is_looked_up_again() -> None:
    with remembering():
        with pytest.raises(ZeroDivisionError):
            once("owner", "x", lambda: 1 // 0)
        assert once("owner", "x", lambda: 7) == 7


def test_threads_do_not_share() -> None:
    _, find = counting()
    seen: list[int] = []
    with remembering():
        assert once(find, "x", find) == 1
        thread = threading.Thread(target=lambda: seen.append(once(find, "x", find)))
        thread.start()
        thread.join(10)
    assert seen == [2]


def test_an_inversion_asks_for_the_device_once_and_sees_a_change_between_calls(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(editor.pipe)
    asked: list[str] = []
    device = "cpu"

    def look(pipe: object) -> torch.device:
        asked.append(device)
        return torch.device(device)

    monkeypatch.setattr(kind, "_execution_device", property(look))
    config = InversionConfig(num_steps=2, renoising=Renoising(1))
    editor.invert(torch.rand(3, 64, 64), "a cat", config=config)
    assert asked == ["cpu"]
    device = "meta"
    assert editor.device == torch.device("meta")
