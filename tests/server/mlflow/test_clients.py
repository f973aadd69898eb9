"""MLflow's own client, unchanged and in its own environment, against a server."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from trine.workspace import Workspace

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / ".venv-mlflow" / "bin" / "python"


@pytest.mark.parametrize(
    "script", ["mlflow_runs.py", "mlflow_files.py", "mlflow_models.py", "mlflow_media.py", "mlflow_traces.py"]
)
def test_the_client_finds_all_it_knows(
    local_ws: Workspace,
    serve: Callable[[Workspace], str],
    admin_token: Callable[[Workspace], str],
    tmp_path: Path,
    script: str,
) -> None:
    speak(serve(local_ws), admin_token(local_ws), tmp_path, script)


@pytest.mark.parametrize("script", ["mlflow_both_ways.py", "mlflow_plugin.py"])
def test_the_client_and_trine_in_one_process(
    script: str,
    local_ws: Workspace,
    serve: Callable[[Workspace], str],
    admin_token: Callable[[Workspace], str],
    tmp_path: Path,
) -> None:
    beside = [str(local_ws.location), str(ROOT / "src"), sysconfig.get_path("purelib"), entry_points(tmp_path)]
    speak(serve(local_ws), admin_token(local_ws), tmp_path, script, *beside)


def entry_points(folder: Path) -> str:
    """A folder with the entry points of Trine's source, as an installed Trine has them."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    made = folder / "installed" / "trine_source-0.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: trine-source\nVersion: 0\n")
    lines = [line for group, some in told.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in some.items()))]
    (made / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return str(made.parent)


def speak(url: str, token: str, tmp_path: Path, script: str, *more: str) -> None:
    """Have a script use MLflow's client against a server."""
    assert CLIENT.exists(), "MLflow's client is not here: make .venv-mlflow/.made"
    settings = {
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    command = [str(CLIENT), "-W", "ignore", str(ROOT / "tests" / "clients" / script), url, *more]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3_000:]
