"""Names of models: what MLflow allows, Trine has; references and command lines stay clear."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from trine import models
from trine.errors import InvalidInput, NotFound
from trine.models import operations as door
from trine.models.names import fitting_name, is_name, told_name
from trine.models.versions import split_ref
from trine.workspace import Workspace

ODD = "Churn (EU), 5 %25 'späť'.v2"


@given(st.text(min_size=1, max_size=100))
def test_every_name_of_another_tool_has_one_here_and_comes_back(name: str) -> None:
    if not name.strip() or name in (".", ".."):
        return
    found = fitting_name(name)
    assert is_name(found) and told_name(found) == name
    assert split_ref(f"{found}@3") == (found, "3")


@given(st.from_regex(r"[^/:@%\x00-\x1f\x7f]{1,50}", fullmatch=True))
def test_what_is_a_name_already_stays_as_it_is(name: str) -> None:
    assert not is_name(name) or fitting_name(name) == name


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a:b", "a@b", "a\nb", "a\n", "50% off", "a%41", "x" * 769])
def test_what_would_make_a_reference_unclear_is_no_name(local_ws: Workspace, name: str) -> None:
    assert not is_name(name)
    with pytest.raises(InvalidInput):
        door.rename_model(local_ws, name="any", new_name=name)


def test_a_model_with_an_odd_name_is_a_model_like_any(ws: Workspace) -> None:
    rows = pl.DataFrame({"x": np.arange(40.0)})
    made = models.register(LogisticRegression().fit(rows, rows["x"] > 20), ODD, inputs=rows)
    assert made.ref == f"{ODD}@1" and models.load_model(f"{ODD}@1").predict(rows).height == 40
    models.promote(ODD, 1)
    assert models.resolve(f"{ODD}@production").ref == made.ref
    assert [one.name for one in models.list_models(ws).items] == [ODD]
    assert models.rename_model(ws, name=ODD, new_name="-a b-").versions == 1
    assert [one.version for one in models.history("-a b-")] == [1]


@pytest.mark.parametrize("ref", ["²", "9" * 5_000, str(2**63)])
def test_a_number_that_no_version_has_is_not_found(local_ws: Workspace, ref: str) -> None:
    rows = pl.DataFrame({"x": np.arange(40.0)})
    models.register(LogisticRegression().fit(rows, rows["x"] > 20), "m", inputs=rows)
    with pytest.raises(NotFound):
        models.resolve(f"m@{ref}")
