"""Training from a version without a copy of it: items in a random order that is always the same, a share for each rank,
and a position that can be kept and taken up again.

A `Stream` of a dataset of files gives (path, bytes), one of a table gives frames of rows. What it reads is fixed when it is
made: a branch that moves later does not move it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from trine.data.reading import scan_commit
from trine.data.references import resolve
from trine.data.trees import read_tree
from trine.errors import InvalidInput
from trine.extras import need
from trine.workspace import Workspace, current_workspace, record_use

if TYPE_CHECKING:
    import polars as pl

BLOCK = 65_536
"""Rows of a table that are read and shuffled together."""


class Stream:
    """One pass over a version for each `for` loop; the next one is the next epoch, in another order.

    With `seed` the order is random: files as such; of a table, blocks of 65,536 rows, and the rows in each. Every rank of
    `world` gets its share, the same number of items to within one (of tables: blocks). `state_dict` may be taken at any time
    and given to `load_state_dict` of a stream with the same options, in any process.
    """

    def __init__(
        self,
        ref: str,
        *,
        rows: int = 1024,
        seed: int | None = None,
        rank: int = 0,
        world: int = 1,
        ws: Workspace | None = None,
    ) -> None:
        if not 0 <= rank < world or rows < 1:
            raise InvalidInput(f"A rank is from 0 to {world - 1}, and a batch has at least one row.")
        self.ws = ws or current_workspace()
        self.commit = resolve(ref, ws=self.ws)
        self.rows, self.seed, self.rank, self.world = rows, seed, rank, world
        self.epoch = self.position = 0
        self._files = read_tree(self.ws.store, self.commit.tree) if self.commit.kind == "files" else []
        record_use(self.commit.node)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is: JSON-able."""
        return {
            "commit": self.commit.ref,
            "seed": self.seed,
            "rank": self.rank,
            "world": self.world,
            "epoch": self.epoch,
            "position": self.position,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another stream was. Raises InvalidInput when it was another version, order or share."""
        mine = self.state_dict()
        for name in ("commit", "seed", "rank", "world"):
            if state[name] != mine[name]:
                raise InvalidInput(
                    f"That position is of a stream with {name} {state[name]}, this one has {mine[name]}."
                )
        self.epoch, self.position = state["epoch"], state["position"]

    def __iter__(self) -> Iterator[Any]:
        yield from self._items() if self.commit.kind == "files" else self._batches()
        self.epoch, self.position = self.epoch + 1, 0

    def _share(self, count: int) -> list[int]:
        """This rank's share of so many things, in this epoch's order."""
        order = np.arange(count)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(count)
        rank, world = self.rank, self.world
        if worker := _worker():
            rank, world = rank * worker[1] + worker[0], world * worker[1]
        return order[rank::world].tolist()

    def _items(self) -> Iterator[tuple[str, bytes]]:
        for at in self._share(len(self._files))[self.position :]:
            entry = self._files[at]
            data = self.ws.store.get(entry.hash)
            self.position += 1  # before it is given: a position taken in the loop's body is after this item
            yield entry.path, data

    def _batches(self) -> Iterator[pl.DataFrame]:
        table = scan_commit(self.ws, self.commit)
        seen = 0
        for block in self._share(-(-(self.commit.rows or 0) // BLOCK)):
            start = block * BLOCK
            length = min(BLOCK, (self.commit.rows or 0) - start)
            batches = -(-length // self.rows)
            if seen + batches <= self.position:  # passed already, so not read
                seen += batches
                continue
            rows = table.slice(start, length).collect()
            if self.seed is not None:
                rows = rows[np.random.default_rng([self.seed, self.epoch, block]).permutation(length)]
            for batch in range(batches):
                seen += 1
                if seen > self.position:
                    self.position += 1
                    yield rows.slice(batch * self.rows, self.rows)

    def torch(self) -> Any:
        """The same as an iterable dataset of PyTorch, for its DataLoader: each of its workers gets a share of this rank's.

        It has `state_dict` and `load_state_dict`, which torchdata's StatefulDataLoader calls in every worker.
        """
        base = need("torch.utils.data", extra="torch", purpose="A PyTorch dataset").IterableDataset
        return type("TrineDataset", (_Delegating, base), {})(self)


class _Delegating:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Any]:
        return iter(self.stream)

    def state_dict(self) -> dict[str, Any]:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stream.load_state_dict(state)


def _worker() -> tuple[int, int] | None:
    """Number and count of the DataLoader's worker that this process is."""
    import sys

    torch = sys.modules.get("torch.utils.data")
    worker = torch.get_worker_info() if torch else None
    return (worker.id, worker.num_workers) if worker else None


def stream(ref: str, **options: Any) -> Stream:
    """A `Stream` of a version."""
    return Stream(ref, **options)
