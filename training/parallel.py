"""Split every batch among processes of one thread each.

OpenMP makes the threads of one process meet after each of some two thousand operations of a training step; when another
program takes a core for a moment, all wait for it every time. Processes that meet once a step lose only their share.
The parameters lie in shared memory and are stepped by the parent alone; the children's gradients lie there too.
"""

import atexit
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch
from torch import nn

Backward = Callable[[int, int], float]


class Team:
    """`backward(step, rank)` adds one part's gradients to the parameters' `.grad` and returns the part's loss.

    What it closes over reaches the children by fork, so a team must be made before anything was differentiated.
    """

    def __init__(self, modules: list[nn.Module], backward: Backward, count: int) -> None:
        self.parameters = [p for m in modules for p in m.parameters() if p.requires_grad]
        self.backward, self.count = backward, count
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self._gradients: list[list[torch.Tensor]] = []
        self._lines: list[Connection] = []
        if count == 1:
            return
        for module in modules:
            module.share_memory()
        context = multiprocessing.get_context("fork")
        for rank in range(1, count):
            gradients = [torch.zeros_like(p) for p in self.parameters]
            for gradient in gradients:
                gradient.share_memory_()  # type: ignore[no-untyped-call]
            here, there = context.Pipe()
            lines = [*self._lines, here]
            context.Process(target=self._child, args=(rank, gradients, there, lines), daemon=True).start()
            there.close()
            self._lines.append(here)
            self._gradients.append(gradients)
        # Before multiprocessing's own farewell, which would wait for children that wait for their next step.
        atexit.register(self.close)

    def close(self) -> None:
        """Let the children end."""
        for line in self._lines:
            line.close()

    def gradients(self, step: int) -> float:
        """Put the whole batch's gradients into `.grad` and return its loss."""
        own = [p.grad for p in self.parameters if p.grad is not None]
        torch._foreach_zero_(own)
        for line in self._lines:
            line.send(step)
        losses: list[float] = [self.backward(step, 0), *(line.recv() for line in self._lines)]
        for gradients in self._gradients:
            torch._foreach_add_(own, gradients)
        if self.count > 1:
            torch._foreach_div_(own, float(self.count))
        return sum(losses) / self.count

    def _child(self, rank: int, gradients: list[torch.Tensor], line: Connection, lines: list[Connection]) -> None:
        # The parent answers signals; a child ends when the parent's end of its line is gone, however that came about.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for inherited in lines:
            inherited.close()
        torch.set_num_threads(1)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        while True:
            try:
                step = line.recv()
            except EOFError:
                return
            for gradient in gradients:
                gradient.zero_()
            line.send(self.backward(step, rank))
