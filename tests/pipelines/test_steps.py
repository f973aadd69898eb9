from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trine.errors import InvalidInput
from trine.pipelines import pipeline, step


@step
def double(x: int) -> int:
    """Twice."""
    return 2 * x


@pipeline
def twice(x: int) -> int:
    return double(double(x))


def test_a_step_and_a_pipeline_are_their_functions_outside_a_run() -> None:
    assert double(3) == 6
    assert twice(x=3) == 12
    assert double.__doc__ == "Twice."
    assert (double.__name__, twice.__name__) == ("double", "twice")
    with pytest.raises(TypeError):
        double()  # type: ignore[call-arg]


def test_a_plain_call_needs_no_workspace_and_loads_no_engine(tmp_path: Path) -> None:
    program = (
        "import trine, sys, os\n"
        "@trine.step(retries=3, timeout_s=5)\n"
        "def double(x: int) -> int: return 2 * x\n"
        "@trine.pipeline\n"
        "def twice(x: int) -> int: return double(double(x))\n"
        "assert twice(3) == 12\n"
        "heavy = {'sqlalchemy', 'polars', 'numpy', 'blake3', 'msgspec', 'trine.pipelines.engine', 'trine.ledger'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
        "assert not os.listdir('.')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


def test_what_cannot_be_a_step_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidInput, match="async or a generator"):

        @step
        async def later() -> int:
            return 1

    with pytest.raises(InvalidInput, match="is a method"):

        class Trainer:
            @step
            def train(self) -> int:
                return 1

    with pytest.raises(InvalidInput, match="no name for a step"):
        step(name="a/b")(lambda: 1)
    with pytest.raises(InvalidInput, match="cannot be negative"):
        step(name="x", retries=-1)(lambda: 1)
    with pytest.raises(InvalidInput, match="above zero"):

        @step(timeout_s=0)
        def never() -> int:
            return 1

    with pytest.raises(InvalidInput, match="exception classes"):

        @step(retry_on=("OSError",))  # type: ignore[arg-type]
        def wrong() -> int:
            return 1

    with pytest.raises(InvalidInput, match="not on a int"):
        step(3)  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match='"ws" is the workspace'):

        @pipeline
        def bad(ws: str) -> str:
            return ws


def test_waits_double_up_to_a_limit() -> None:
    @step(retries=9, backoff_s=1.5)
    def slow() -> int:
        return 1

    assert [slow.wait_s(attempt) for attempt in (1, 2, 3, 50)] == [1.5, 3.0, 6.0, 600.0]
