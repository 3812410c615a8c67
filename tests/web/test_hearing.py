from __future__ import annotations

import warnings
from threading import Barrier, Thread

from renoise import RenoiseWarning
from renoise.web.hearing import hearing


def test_each_thread_hears_its_own_warnings_however_they_overlap() -> None:
    heard: dict[int, list[str]] = {number: [] for number in range(4)}
    together = Barrier(4)

    def work(number: int) -> None:
        with hearing(lambda warning: heard[number].append(str(warning))):
            together.wait(10)
            for _ in range(20):
                warnings.warn(RenoiseWarning(f"from {number}"), stacklevel=1)

    before = warnings.showwarning
    threads = [Thread(target=work, args=(number,)) for number in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {number: [f"from {number}"] * 20 for number in heard}
    assert warnings.showwarning is before


def test_other_warnings_go_where_they_went() -> None:
    heard: list[str] = []
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with hearing(lambda warning: heard.append(str(warning))):
            warnings.warn("something else", UserWarning, stacklevel=1)
    assert heard == []
    assert [str(one.message) for one in others] == ["something else"]
