"""A plain training loop that counts and logs by itself, for PyTorch and whatever else is written as a loop.

with trine.run("digits"):
    loop = TrainingLoop(optimizer=optimizer, every=50)
    for batch in loop.batches(loader, epochs=3):
        loss = step(batch)
        loop.log(loss=loss)          # a tensor stays on its device until it is logged
    loop.log(accuracy=evaluate())    # outside an iteration: logged at once
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from trine.errors import InvalidInput
from trine.tracking.live import Run, active_run

T = TypeVar("T")


class TrainingLoop:
    """Iterates over epochs and batches and logs, every so many steps, the means of what was passed to `log`, with the epoch,
    the learning rates of the optimizer and the batches per second. `step` counts batches over all epochs."""

    def __init__(self, run: Run | None = None, *, optimizer: Any = None, every: int = 10) -> None:
        found = run or active_run()
        if found is None:
            raise InvalidInput("There is no active run. Loop inside `with trine.run(…):`, or pass the run.")
        if every < 1:
            raise InvalidInput(f"A loop logs every step or less often: every={every} is not one or more.")
        self.run = found
        self.step = self.epoch = 0
        self._optimizer = optimizer
        self._every = every
        self._sums: dict[str, list[Any]] = {}
        self._is_iterating = False
        self._since, self._begin = 0, time.perf_counter()

    def batches(self, loader: Iterable[T], *, epochs: int = 1) -> Iterator[T]:
        """The batches of all epochs one after the other."""
        self._is_iterating, self._begin = True, time.perf_counter()
        try:
            for _ in range(epochs):
                for batch in loader:
                    yield batch
                    self.step += 1
                    self._since += 1
                    if self._since >= self._every:
                        self._write()
                self.epoch += 1
            if self._since:
                self._write()
        finally:
            self._is_iterating = False

    def log(self, **values: Any) -> None:
        """Values of this step: numbers, or tensors with one element."""
        if not self._is_iterating:
            self.run.log({name: _number(value) for name, value in values.items()}, step=self.step)
            return
        for name, value in values.items():
            value = value.detach() if hasattr(value, "detach") else value
            entry = self._sums.setdefault(name, [0, 0])
            entry[0] = entry[0] + value if entry[1] else value
            entry[1] += 1

    def _write(self) -> None:
        now = time.perf_counter()
        values = {name: _number(total) / count for name, (total, count) in self._sums.items()}
        for at, group in enumerate(getattr(self._optimizer, "param_groups", ())):
            values["learning_rate" if at == 0 else f"learning_rate/{at}"] = _number(group["lr"])
        values |= {"epoch": float(self.epoch), "batches_per_second": self._since / max(now - self._begin, 1e-9)}
        self.run.log(values, step=self.step)
        self._sums, self._since, self._begin = {}, 0, now


def _number(value: Any) -> float:
    return float(value.item() if hasattr(value, "item") else value)
