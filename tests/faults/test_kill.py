"""Kill -9 at two hundred random instants: no acknowledged write is lost, nothing refers to what is not there."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

KILLS = int(os.environ.get("TRINE_TEST_KILLS", "40"))
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def killing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], dict[str, Any]]]:
    """One process that has everything loaded makes all the kills."""
    seed = random.randrange(10**6)
    folder = tmp_path_factory.mktemp("killed")
    log = folder / "errors.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(HERE / "killing.py"), str(KILLS), str(seed), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "1"},
        ) as process,
    ):

        def run(name: str) -> dict[str, Any]:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            return {**json.loads(line or '{"problems": ["it ended"]}'), "seed": seed, "log": log.read_text()}

        yield run
        process.stdin.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["add", "commit", "log", "promote", "serve"])
def test_nothing_acknowledged_is_lost(killing: Callable[[str], dict[str, Any]], name: str) -> None:
    result = killing(name)
    assert result["problems"] == [], f"seed {result['seed']}: {result['problems']}\n{result['log']}"
    assert result["kills"] == KILLS
    assert result["acknowledged"] > 0


def test_what_a_server_told_mlflows_clients_is_kept(killing: Callable[[str], dict[str, Any]]) -> None:
    result = killing(f"wire {KILLS // 8}")
    assert result["problems"] == [], f"seed {result['seed']}: {result['problems']}\n{result['log']}"
    assert result["kills"] == KILLS // 8  # the first, which is not counted, comes after three acknowledgements


def test_no_event_is_lost(killing: Callable[[str], dict[str, Any]]) -> None:
    test_nothing_acknowledged_is_lost(killing, "door")


def test_an_upsert_is_there_whole_or_not_at_all_wherever_it_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    done = subprocess.run(
        [sys.executable, str(HERE / "lines.py"), str(max(KILLS // 3, 10)), str(seed), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    assert int(done.stdout) > 500
