"""What the base install gives: every room, gates and monitors too, without SciPy and scikit-learn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RULES = """
import polars as pl

def sure(rows):
    share = 1 / (1 + (-(rows["km"] - 8) / 2).exp())
    return pl.DataFrame({"prediction": share > 0.5, "probability": share})

def unsure(rows):
    share = 1 / (1 + (-(rows["km"] - 9) / 9).exp())
    return pl.DataFrame({"prediction": share > 0.5, "probability": share})
"""

BLOCKED = """
import sys
for library in ("scipy", "sklearn", "skops", "joblib", "threadpoolctl"):
    sys.modules[library] = None
"""

IMPORT_ALL = (
    BLOCKED
    + """
import importlib, pkgutil, trine
for found in pkgutil.walk_packages(trine.__path__, "trine."):
    outside = ("trine.ledger.migrations", "trine.examples", "trine.server.mlflow.plugin")  # the last is MLflow's to import
    if not found.name.startswith(outside) and not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
)

USE = (
    BLOCKED
    + """
import numpy as np, polars as pl, pytest
import rules, trine
from trine import data, evaluation, models, monitoring
from trine.models.flavors import flavors
from trine.errors import InvalidInput

trine.init()
draw = np.random.default_rng(0)
km = draw.normal(8, 3, 2000)
rides = pl.DataFrame({"km": km, "late": draw.random(2000) < 1 / (1 + np.exp(-(km - 8) / 2)), "town": draw.choice(["a", "b"], 2000)})
commit = data.commit(rides, name="rides")
assert {one.name for one in data.profile("rides").columns} == {"km", "late", "town"}
for rule in (rules.unsure, rules.sure):
    models.register(rule, "rides", inputs=rides.select("km"), allow_pickle=True, data=commit)
for metric in ("roc_auc", "log_loss", "accuracy", "f1"):
    gate = evaluation.Gate(metric=metric, slices=("town",), slice_margin=0.05)
    report = evaluation.compare("rides@2", "rides@1", rides, label="late", gate=gate, allow_pickle=True)
    assert report.rows == 2000 and report.low is not None, report
loaded = models.load_model("rides@2", allow_pickle=True)
assert evaluation.evaluate(loaded, rides, label="late").metrics[0].low is not None
moved = rides.with_columns(km=pl.col("km") + 1)
assert not any(one.moved for one in monitoring.compare(rides, rides))
assert [one.column for one in monitoring.compare(rides, moved) if one.moved] == ["km"]
with pytest.raises(InvalidInput, match=r"pip install 'trine\\[sklearn\\]'"):
    trine.autolog()
with pytest.raises(InvalidInput, match=r"A scikit-learn model needs .*pip install 'trine\\[sklearn\\]'"):
    flavors()["sklearn"].load({"model.skops": b""})
"""
)


def test_every_room_is_imported_without_scipy_and_scikit_learn() -> None:
    _run(IMPORT_ALL, Path.cwd())


def test_gates_monitors_and_profiles_need_no_scipy(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    _run(USE, tmp_path)


def _run(code: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
