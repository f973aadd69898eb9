"""Kill -9 between two lines of an upsert: children, each of which ends itself after so many lines of Trine's own code.

    python lines.py KILLS SEED FOLDER

Every child first looks whether what was committed is there, whole, and nothing else. Prints the lines of one upsert.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl
from killing import forked

import trine
from trine import data, rooms, upkeep
from trine.workspace import Workspace, connect, using

SOURCE = str(Path(trine.__file__).parent)
ROWS = 40


def upsert(ws: Workspace, batch: int) -> None:
    """All rows get another value, some of them in parts that were written before."""
    rows = pl.DataFrame({"id": range(ROWS), "batch": [batch] * ROWS})
    data.upsert(rows, name="t", key="id", tag=f"batch-{batch}", ws=ws)


def check(ws: Workspace, least: int) -> int:
    """The batch that is there, which is no older than the last one that was acknowledged."""
    rows = data.load("t", ws=ws).collect()
    assert sorted(rows["id"]) == list(range(ROWS)) and rows["batch"].n_unique() == 1, rows
    found = rows["batch"][0]
    assert found >= least, (found, least)
    assert (profile := data.profile("t", ws=ws).column("batch")) and (profile.min, profile.count) == (found, ROWS)
    assert (told := upkeep.verify(ws)).is_sound, told
    return found


def count(after: int) -> list[int]:
    """Count lines of Trine's code from now on, and end after so many (0: never)."""
    counted = [0]

    def line(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            counted[0] += 1
            if counted[0] == after:
                os.kill(os.getpid(), signal.SIGKILL)
        return line

    def call(frame: FrameType, event: str, arg: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(SOURCE) else None

    sys.settrace(call)
    return counted


def main(kills: int, seed: int, folder: Path) -> None:
    told = folder / "lines"

    def prepare() -> None:
        with connect(folder) as ws, using(ws):
            data.commit(pl.DataFrame({"id": range(ROWS // 2), "batch": [0] * (ROWS // 2)}), name="t")
            data.commit(pl.DataFrame({"id": range(ROWS // 2, ROWS), "batch": [0] * (ROWS // 2)}), name="t")
            counted = count(0)
            upsert(ws, 1)
            sys.settrace(None)
            told.write_text(str(counted[0]))

    def die(batch: int, after: int) -> None:
        with connect(folder) as ws, using(ws):
            check(ws, 1)
            count(after)
            upsert(ws, batch)

    def finish() -> None:
        with connect(folder) as ws, using(ws):
            check(ws, 1)
            upsert(ws, kills + 2)
            check(ws, kills + 2)

    assert os.waitpid(forked(prepare), 0)[1] == 0
    lines = int(told.read_text())
    rng = random.Random(seed)
    for number in range(kills):
        after = rng.randrange(lines * number // kills, lines * (number + 1) // kills) + 1
        status = os.waitpid(forked(lambda after=after, number=number: die(number + 2, after)), 0)[1]
        assert status in (0, signal.SIGKILL), f"killed after {after} of {lines} lines: {status}"
    assert os.waitpid(forked(finish), 0)[1] == 0
    print(lines)


if __name__ == "__main__":
    rooms.load()
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
