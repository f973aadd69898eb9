from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from trine import data, models
from trine.access import operations as access
from trine.access.principals import Principal
from trine.workspace import Workspace


def test_the_command_line_shows_judges_promotes_and_rolls_back(local_ws: Workspace) -> None:
    from trine.cli import main

    draw = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"a": draw.normal(size=900), "b": draw.normal(size=900), "origin": ["EWR", "JFK", "LGA"] * 300}
    )
    late = frame["a"].to_numpy() + frame["b"].to_numpy() + draw.normal(size=900) > 0
    place = ["--workspace", str(local_ws.location)]

    def say(*words: str, code: int = 0) -> str:
        answer = CliRunner().invoke(main, ["models", *words, *place])
        assert answer.exit_code == code, answer.output
        return answer.output

    assert "trine.models.register" in say("ls")
    assert "No gates yet" in say("gates") and "No evaluations yet" in say("evaluations")
    data.commit(frame.with_columns(late=pl.Series(late)), name="may")
    inputs = frame.select("a", "b")
    for known in (inputs.with_columns(b=pl.lit(0.0)), inputs):
        models.register(LogisticRegression().fit(known, late), "delays", inputs=inputs)
    assert "trine models promote delays@VERSION" in say("history", "delays")
    assert "LogisticRegression" in say("versions", "delays") and "required" in say("show", "delays")
    assert "base rate" in say("gate", "delays@1", "may", "--label", "late")  # no production yet
    assert "production of delays is delays@1" in say("promote", "delays@1", "-m", "first")
    judged = say("gate", "delays@2", "may", "--label", "late", "--slice", "origin")
    assert "PASS  delays@2 is better than delays@1" in judged and "origin = LGA" in judged and "held" in judged
    found = json.loads(say("gate", "delays@2", "may", "--label", "late", "--json"))
    assert found["outcome"] == "pass" and found["baseline"] == "delays@1"
    assert "delays@2; before: delays@1" in say("promote", "delays@2", "--gate", found["id"][:25], "--expect", "1")
    say("promote", "delays@1", "--gate", found["id"], code=5)
    say("promote", "delays@1", "--expect", "1", code=5)
    assert "Which version" in say("promote", "delays", code=2)
    assert "FAIL" in say("gate", "delays@1", "may", "--label", "late", code=5)
    assert "equally well" in say("gate", "delays@2", "may", "--label", "late", code=5)
    assert len(json.loads(say("gates", "delays", "--outcome", "pass", "--json"))["items"]) == 3
    assert "PASS" in say("report", found["id"]) and "DeLong" in say("report", f"gate:{found['id']}")
    measured = json.loads(say("evaluate", "delays@2", "may", "--label", "late", "--metric", "brier", "--json"))
    assert measured["metrics"][0]["name"] == "brier"
    assert "brier" in say("report", measured["id"]) and "delays@2" in say("evaluations", "delays")
    assert "No gate and no evaluation" in say("report", "zz", code=3)
    assert "production of delays is delays@1; before: delays@2" in say("rollback", "delays", "-m", "errors")
    say("rollback", "delays", code=5)
    assert "rolled back" in say("history", "delays", "--alias", "production")
    say("edit", "delays@2", "--description", "both columns", "--tag", "owner=ana")
    assert "owner=ana" in say("show", "delays@2")
    say("edit", "delays", "--description", "late or not")
    assert "late or not" in say("ls") and "KEY=VALUE" in say("edit", "delays", "--tag", "x", code=2)
    say("rm", "delays@1", "--yes", code=5)
    assert "Forgot delays@2" in say("rm", "delays@2", "--yes")
    assert "production of delays is nothing" in say("unalias", "delays", "production")
    assert 'Did you mean "delays"' in say("show", "delay", code=3)


def test_the_command_line_registers_protects_stages_and_verifies(
    local_ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trine.cli import main

    place = ["--workspace", str(local_ws.location)]

    def say(*words: str, code: int = 0) -> str:
        answer = CliRunner().invoke(main, ["models", *words, *place])
        assert answer.exit_code == code, answer.output
        return answer.output

    frame = pl.DataFrame({"hour": [1, 13, 20, 5], "late": [False, True, True, False]})
    data.commit(frame, name="may")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # a file that changes within a second is read anew
    rules = tmp_path / "rules.py"
    rules.write_text("LIMIT = 12\n\n\ndef late(rows):\n    return rows['hour'] > LIMIT\n")
    source = f"{rules}:late"
    asked = ("register", "rule", source, "--inputs", "may", "--label", "late", "--tag", "owner=ana")
    assert "Registered rule@1 (python)" in say(*asked)
    rules.write_text(rules.read_text().replace("12", "10"))
    frame.drop("late").write_csv(tmp_path / "rows.csv")
    assert "rule@2" in say("register", "rule", source, "--inputs", str(tmp_path / "rows.csv"))
    assert "There is no file" in say("register", "rule", "gone.onnx", "--inputs", "may", code=3)
    assert 'no function "early"' in say("register", "rule", f"{rules}:early", "--inputs", "may", code=3)
    differ = say("diff", "rule@1", "rule@2")
    assert "owner" in differ and "dataset:may" in differ and "artifact" in differ
    assert "do not differ" in say("diff", "rule@1", "rule@1")
    say("download", "rule@2", str(tmp_path / "copy"))
    assert "LIMIT = 10" in (tmp_path / "copy" / "model.py").read_text()
    assert "not empty" in say("download", "rule@2", str(tmp_path / "copy"), code=2)
    checked = say("verify", "rule", "--all")
    assert checked.count("as when it was registered") == 2
    assert "Staging, Production, Archived" in say("stages")
    assert "dev, live" in say("stages", "dev", "live")
    assert "rule@1 is in live" in say("stage", "rule@1", "LIVE")
    say("promote", "rule@1")
    assert "No alias of rule is protected" in say("protections", "rule")
    assert "1 approval(s) by others, no pickle" in say("protect", "rule", "production", "--no-gate")
    assert "refused" in say("protections", "rule")
    assert "somebody other than" in say("promote", "rule@2", code=4)
    assert "four eyes" in say("approve", "rule", code=4)
    assert "Nobody waits" in say("approve", "rule", "challenger", code=3)
    other = local_ws.acting_as(Principal("user:bea", local=True))
    waiting = access.list_approvals(local_ws, state="pending").items[0]
    access.approve(other, id=waiting.id)
    assert "production of rule is rule@2" in say("promote", "rule@2")
    assert "not protected any more" in say("unprotect", "rule", "production")
    assert "rule is rules now" in say("rename", "rule", "rules")


def test_the_command_line_names_models_with_spaces(local_ws: Workspace) -> None:
    from trine.cli import main
    from trine.evaluation import compare

    rows = pl.DataFrame({"x": np.arange(200.0)})
    late = rows["x"] > 100
    for _ in range(2):
        models.register(LogisticRegression().fit(rows, late), "Churn (EU)", inputs=rows)
    told = compare("Churn (EU)@1", None, rows.with_columns(late=late), label="late")

    def say(*words: str, code: int = 0) -> str:
        answer = CliRunner().invoke(main, ["models", *words, "--workspace", str(local_ws.location)])
        assert answer.exit_code == code, answer.output
        return answer.output

    assert "trine models promote 'Churn (EU)@VERSION'" in say("history", "Churn (EU)")
    say("promote", "Churn (EU)@1")
    assert "Churn (EU)" in say("ls")
    assert json.loads(say("show", "Churn (EU)@production", "--json"))["name"] == "Churn (EU)"
    assert "trine models unalias 'Churn (EU)' production" in say("rm", "Churn (EU)@1", "--yes", code=5)
    assert "so it opens no protected alias" in say("report", told.id)
    assert "no reference to a model" in say("show", "a/b@1", code=2)
