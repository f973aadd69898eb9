"""What a start imports: `import trine` and `trine --help` load nothing that is heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "alembic", "anyio", "argon2", "blake3", "croniter", "cryptography", "httpx", "lark", "msgspec", "numpy", "obstore",
    "orjson", "polars", "psutil", "pyarrow", "pandas", "rich", "scipy", "sklearn", "skops", "sqlalchemy", "sqlite3",
    "starlette", "uvicorn", "uvloop", "yaml", "zstandard",
}  # fmt: skip
"""Everything Trine depends on but click."""


def modules_of(code: str) -> set[str]:
    """The modules that a fresh interpreter has after some code."""
    told = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(told.stderr.split())


def of_trine(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] == "trine"}


def test_importing_trine_imports_nothing_else() -> None:
    modules = modules_of("import trine")
    assert of_trine(modules) == {"trine", "trine.lazy"}
    assert not modules & (HEAVY | {"click"})


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_help_of_trine_loads_no_command(arguments: list[str]) -> None:
    code = f"from trine.cli import main\nimport os\nsys.stdout = open(os.devnull, 'w')\nmain({arguments}, standalone_mode=False)"
    modules = modules_of(code)
    assert of_trine(modules) == {"trine", "trine.lazy", "trine.cli"}
    assert not modules & HEAVY


def test_the_names_of_trine_are_there_when_they_are_asked_for() -> None:
    code = "import trine\nfor name in dir(trine): getattr(trine, name)\nassert 'connect' in dir(trine)"
    assert "trine.workspace" in modules_of(code)


@pytest.mark.parametrize(
    "room",
    [
        "access",
        "data",
        "tracking",
        "features",
        "models",
        "evaluation",
        "pipelines",
        "serving",
        "monitoring",
        "llm",
        "loop",
        "governance",
        "insights",
    ],
)
def test_importing_a_room_is_cheap(room: str) -> None:
    assert not modules_of(f"import trine.{room}") & (HEAVY - {"msgspec", "blake3", "sqlalchemy"})


def test_opening_a_workspace_needs_no_frames_and_no_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("start")
    subprocess.run([sys.executable, "-m", "trine.cli", "init", str(folder)], check=True, capture_output=True)
    modules = modules_of(f"from trine.workspace import connect\nconnect({str(folder)!r}).close()")
    assert not modules & {
        "numpy",
        "polars",
        "pyarrow",
        "scipy",
        "sklearn",
        "httpx",
        "starlette",
        "alembic",
        "rich",
        "obstore",
    }
