"""MLflow's own client, unchanged and in its own environment, against a server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from trine.workspace import Workspace

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / ".venv-mlflow" / "bin" / "python"


@pytest.mark.parametrize("script", ["mlflow_runs.py", "mlflow_files.py", "mlflow_models.py"])
def test_the_client_finds_all_it_knows(
    local_ws: Workspace,
    serve: Callable[[Workspace], str],
    admin_token: Callable[[Workspace], str],
    tmp_path: Path,
    script: str,
) -> None:
    assert CLIENT.exists(), "MLflow's client is not here: make .venv-mlflow/.made"
    settings = {
        "MLFLOW_TRACKING_TOKEN": admin_token(local_ws),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    command = [str(CLIENT), "-W", "ignore", str(ROOT / "tests" / "clients" / script), serve(local_ws)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3_000:]
