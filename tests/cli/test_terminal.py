"""The bar and the notes on standard error."""

from __future__ import annotations

import io
import sys
import time

import pytest
import torch

from renoise import Progress
from renoise.cli.terminal import Terminal


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Tty(), True), (io.StringIO(), False)])
def test_the_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, shown: bool) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Terminal(quiet=False) as terminal:
        terminal.note("hello [bold]you[/bold]\nthere")
        with terminal.stage("inverting") as stage:
            stage(Progress("invert", 3, 8, 500, 0, 4, torch.zeros(1, 1, 2, 2)))
            time.sleep(0.3)  # the bar is drawn ten times a second
            assert stage.passes == 3
    text = stream.getvalue()
    assert "renoise: hello [bold]you[/bold] there\n" in text
    assert ("inverting" in text) is shown
    assert ("3/8 network passes" in text) is shown


def test_quiet_terminals_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stderr", stream)
    with Terminal(quiet=True) as terminal, terminal.stage("inverting") as stage:
        terminal.note("hello")
        stage(Progress("invert", 3, 8, 500, 0, 4, torch.zeros(1, 1, 2, 2)))
        stage.tell(3, 8, "a row")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("total", "said"), [(600, 10), (12, 10), (3, 3), (1, 1), (0, 0)])
def test_work_without_a_bar_is_told_by_tenths(monkeypatch: pytest.MonkeyPatch, total: int, said: int) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Terminal(quiet=False) as terminal, terminal.stage("measuring") as stage:
        for done in range(total + 1):
            stage.tell(done, total, "a row")
    lines = stream.getvalue().splitlines()
    assert len(lines) == said
    assert all(line.startswith("renoise: measuring: ") for line in lines)
    if total == 600:
        assert lines[1] == "renoise: measuring: 20% (120/600)"
    if total:
        assert lines[-1] == f"renoise: measuring: 100% ({total}/{total})"


def test_work_with_a_bar_is_told_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Terminal(quiet=False) as terminal, terminal.stage("measuring") as stage:
        stage.tell(3, 6, "a row (3/6)")
        time.sleep(0.3)
    assert "a row (3/6)" in stream.getvalue()
    assert "renoise: measuring" not in stream.getvalue()


def test_a_stage_ends_at_its_end_though_fewer_passes_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Tty())
    monkeypatch.setenv("TERM", "xterm")
    with Terminal(quiet=False) as terminal:
        bar = terminal._bar
        assert bar is not None
        ends = []
        monkeypatch.setattr(bar, "remove_task", lambda task: ends.append(bar.tasks[task].percentage))
        with terminal.stage("inverting") as stage:
            stage(Progress("invert", 3, 8, 500, 0, 4, torch.zeros(1, 1, 2, 2)))
        assert stage.passes == 3
    assert ends == [100.0]


def test_stages_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Terminal(quiet=False) as terminal:
        for number in range(3):
            with terminal.stage(f"stage {number}") as stage:
                stage.tell(1, 2, "half")
    assert "stage 2" in stream.getvalue()
