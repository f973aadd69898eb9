from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from trine.cli import main

PROGRAM = """
    from pathlib import Path

    from trine.pipelines import pipeline, step

    MENDED = False


    @step
    def square(x: int) -> int:
        print("squaring", x)
        return x * x


    @step
    def risky(x: int) -> float:
        if not Path("mended").exists():
            raise ValueError("not yet")
        return x / 2


    @pipeline
    def good(x: int, label: str = "a") -> dict:
        return {"square": square(x), "label": label}


    @pipeline
    def bad(x: int) -> float:
        return risky(square(x))
"""


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "commands_flow.py").write_text(textwrap.dedent(PROGRAM))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "commands_flow", raising=False)
    return folder


def trine(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["pipeline", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_a_run_is_shown_while_it_goes_and_afterwards(place: Path) -> None:
    assert "No pipeline has run yet" in trine("ls")
    out = trine("run", "commands_flow.py:good", "-p", "x=12")
    assert "✓ square succeeded" in out
    assert "square │ squaring 12" in out
    assert "good succeeded in" in out
    shown = trine("show", "good")
    assert 'label="a"' in shown
    assert "{square: 144, label: a}" in shown
    assert "first time" in shown
    again = trine("run", "commands_flow.py:good", "-p", "x=12")
    assert "= square cached" in again
    assert "1 from the cache" in again
    assert trine("logs", "good", "square") == "squaring 12\n"
    assert "taken from step_run:" in trine("explain", "good")
    assert trine("ls", "good").count("succeeded") == 2
    assert '"square"' in trine("graph", "commands_flow.py:good", "-p", "x=1", "--dot")


def test_a_failed_run_tells_the_command_that_goes_on(place: Path) -> None:
    out = trine("run", "commands_flow.py:bad", "-p", "x=4", code=1)
    assert 'error: Step "risky" of pipeline run' in out
    assert "ValueError: not yet" in out
    shown = trine("show", "bad")
    assert "raise ValueError" in shown
    go_on = next(line for line in shown.splitlines() if "trine pipeline resume" in line).split()[-1]
    (place / "mended").touch()
    assert "✓ risky succeeded" in trine("resume", go_on)
    assert "nothing to resume" in trine("resume", go_on, code=5)
    assert "✓ risky succeeded" in trine("retry", go_on, "risky")
    assert "asked for again" in trine("explain", go_on, "risky")
    assert "nothing to cancel" in trine("cancel", go_on, code=5)


def test_json_is_nothing_but_json(place: Path) -> None:
    made = json.loads(trine("run", "commands_flow.py:good", "-p", "x=3", "--json"))
    assert made["state"] == "succeeded"
    assert made["steps"][0]["key"] == "square"
    assert json.loads(trine("show", "good", "--json"))["run"]["id"] == made["run"]["id"]
    assert json.loads(trine("ls", "--json"))[0]["pipeline"] == "good"
    assert json.loads(trine("logs", "good", "--json")) == {"square": "squaring 3\n"}
    assert json.loads(trine("graph", "commands_flow.py:good", "-p", "x=1", "--json"))["steps"][0]["step"] == "square"


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["run", "commands_flow.py:goood"], 'has no pipeline "goood". Did you mean "good"? It has: good, bad.', 3),
        (["run", "nowhere.py:good"], "There is no file", 3),
        (["run", "nowhere:good"], 'There is no module "nowhere"', 3),
        (["run", "good"], "write file.py:name", 2),
        (["run", "commands_flow.py:good"], 'needs the parameter "x"', 2),
        (["run", "commands_flow.py:good", "-p", "x"], "write -p KEY=VALUE", 2),
        (["run", "commands_flow.py:good", "-p", "x=many"], 'parameter "x"', 2),
        (["show", "nothing"], "No pipeline run", 3),
    ],
)
def test_bad_input_says_how_to_mend_it(place: Path, arguments: list[str], words: str, code: int) -> None:
    assert words in trine(*arguments, code=code)


def test_warnings_are_shown_once_and_help_is_quick(place: Path) -> None:
    (place / "warn.py").write_text(
        "import logging\nfrom trine.pipelines import step, pipeline\n"
        "@step\ndef talk() -> None:\n    logging.getLogger('w').warning('careful')\n"
        "@pipeline\ndef talking() -> None:\n    talk()\n"
        "if __name__ == '__main__':\n    talking.run()\n"
    )
    done = subprocess.run([sys.executable, "warn.py"], capture_output=True, text=True, cwd=place, check=True)
    assert done.stderr.count("WARNING w: careful") == 1
    assert trine("logs", "talking") == "WARNING w: careful\n"
    program = (
        "import sys, trine.cli.pipelines\n"
        "heavy = {'sqlalchemy', 'polars', 'numpy', 'rich', 'msgspec'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
