from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import estimators
import numpy as np
import polars as pl
import pytest
from estimators import Halve, Threshold, labels, numbers, pipeline, rows
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

import trine
from trine import data, models
from trine.access import graph
from trine.errors import Conflict, Damaged, Failure, InvalidInput, NotFound, Refused
from trine.models import Field, Signature, loading
from trine.models.artifact import read_manifest, write_artifact
from trine.models.scikit import ScikitFlavor
from trine.workspace import Workspace, recording_uses


def fresh() -> None:
    """Forget what this process has loaded."""
    loading._kept.clear()


def make(name: str = "delays", **options: Any) -> models.ModelVersion:
    frame = rows()
    return models.register(pipeline().fit(frame, labels(frame)), name, inputs=frame, **options)


def test_a_registered_model_answers_as_the_one_in_memory(ws: Workspace) -> None:
    frame = rows()
    fitted = pipeline().fit(frame, labels(frame))
    version = models.register(
        fitted, "delays", inputs=frame, description="first", tags={"owner": "ana"}, metrics={"auc": 0.8}
    )
    assert (version.version, version.ref, version.node) == (1, "delays@1", "model:delays@1")
    assert version.flavor == "sklearn" and not version.pickled
    assert version.estimator == "Pipeline(ColumnTransformer, LogisticRegression)"
    assert version.signature.inputs == (
        Field("distance", "float64"),
        Field("hour", "int64"),
        Field("carrier", "string"),
        Field("holiday", "boolean"),
    )
    assert version.signature.outputs == (Field("prediction", "boolean"), Field("probability", "float64"))
    assert (version.tags, version.metrics, version.classes) == ({"owner": "ana"}, {"auc": 0.8}, (False, True))
    assert "scikit-learn" in version.libraries
    fresh()
    loaded = models.load_model("delays")
    answers = loaded.predict(frame)
    assert answers["prediction"].to_list() == fitted.predict(frame).tolist()
    assert np.allclose(answers["probability"], fitted.predict_proba(frame)[:, 1], rtol=1e-12)
    assert models.load_model("delays@1").native is loaded.native  # read once a process


def test_numbers_are_given_once_and_never_again(ws: Workspace) -> None:
    first, second = make(), make()
    assert [first.version, second.version] == [1, 2]
    assert models.resolve("delays").version == 2
    models.delete_version(ws, name="delays", version=2)
    assert models.resolve("delays").version == 1
    with pytest.raises(NotFound, match=r"no version 2\. It was deleted"):
        models.resolve("delays@2")
    assert make().version == 3
    assert [one.version for one in models.list_versions(ws, name="delays").items] == [3, 1]
    page = models.list_versions(ws, name="delays", limit=1)
    assert [one.version for one in models.list_versions(ws, name="delays", limit=1, page=page.next).items] == [1]
    info = models.get_model(ws, name="delays")
    assert (info.versions, info.newest) == (2, 3)


REGISTER = """
import sys
sys.path.insert(0, sys.argv[2])
import trine
from trine.models import operations as door
ws = trine.connect(sys.argv[1])
for _ in range(12):
    print(door.register_version(ws, name="delays", artifact=sys.argv[3]).version)
"""


def test_two_processes_never_get_the_same_number(local_ws: Workspace) -> None:
    artifact = make().artifact
    here = str(Path(estimators.__file__).parent)
    command = [sys.executable, "-c", REGISTER, str(local_ws.root), here, artifact]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    given = [int(line) for one in running for line in one.communicate()[0].split()]
    assert [one.returncode for one in running] == [0, 0]
    assert sorted(given) == list(range(2, 26))


def test_names_that_are_not_there_are_told_with_the_nearest(ws: Workspace) -> None:
    make()
    with pytest.raises(NotFound, match=r'No model "delay" .* Did you mean "delays"'):
        models.resolve("delay")
    models.promote("delays", 1)
    with pytest.raises(NotFound, match=r'no alias "prodution".* Did you mean "production"'):
        models.resolve("delays@prodution")
    for bad in ("", "@1", "delays@", "../x", "a:b"):
        with pytest.raises(InvalidInput, match="no reference to a model"):
            models.resolve(bad)
    with pytest.raises(InvalidInput, match="wrong value"):
        make("no such: name")


def test_where_a_version_came_from_is_in_the_graph(ws: Workspace) -> None:
    training = data.commit(rows().with_columns(late=labels(rows())), name="flights")
    other = data.commit(rows(20), name="other")
    with trine.run("churn") as run:
        data.load("other")
        data.load("flights")
        version = make()
    assert (version.run, version.data, version.producer) == (run.id, training.node, run.node)
    walked = graph.lineage(ws, node=version.node)
    assert {run.node, training.node, other.node} <= set(walked.nodes)
    assert (version.node, "derived", training.node) in {(e.source, e.kind, e.target) for e in walked.edges}
    said = make(data=other)
    assert (said.run, said.data) == ("", other.node)
    with pytest.raises(InvalidInput, match="no node of training data"):
        make(data="flights@main")


def test_loading_is_recorded_as_a_use(ws: Workspace) -> None:
    version = make()
    used: list[str] = []
    with recording_uses(used.append):
        models.load_model("delays")
    assert used == [version.node]


def test_description_and_tags_may_change_and_nothing_else(ws: Workspace) -> None:
    version = make(tags={"owner": "ana", "old": "yes"})
    after = models.update_version(ws, name="delays", version=1, description="with hour", tags={"old": None, "new": "1"})
    assert (after.description, after.tags) == ("with hour", {"owner": "ana", "new": "1"})
    assert (after.artifact, after.signature) == (version.artifact, version.signature)
    info = models.update_model(ws, name="delays", description="late or not", tags={"team": "ops"})
    assert (info.description, info.tags) == ("late or not", {"team": "ops"})
    assert models.update_model(ws, name="delays", tags={"x": "1"}).description == "late or not"


# -- what may be registered, and what may be loaded ---------------------------------------------------------------


def test_what_the_model_takes_has_to_be_known(ws: Workspace) -> None:
    frame = numbers()
    fitted = LogisticRegression(max_iter=1000).fit(frame, labels(frame))
    with pytest.raises(InvalidInput, match="What does the model take"):
        models.register(fitted, "m")
    with pytest.raises(InvalidInput, match="fitted on the columns distance, hour, holiday, the example has"):
        models.register(fitted, "m", inputs=rows())
    with pytest.raises(InvalidInput, match="not fitted"):
        models.register(LogisticRegression(), "m", inputs=frame)
    with pytest.raises(InvalidInput, match="no rows"):
        models.register(fitted, "m", inputs=frame.head(0))
    bare = LogisticRegression(max_iter=1000).fit(frame.to_numpy(), labels(frame))
    with pytest.raises(InvalidInput, match="fitted on 3 columns, the example has 2"):
        models.register(bare, "m", inputs=frame.drop("hour"))
    shuffled = models.register(fitted, "m", inputs=frame.select("holiday", "hour", "distance"))
    assert shuffled.signature.names == ["distance", "hour", "holiday"]  # in the model's own order
    with pytest.raises(InvalidInput, match=r'no flavor "sklern"\. Did you mean "sklearn"'):
        models.register(fitted, "m", inputs=frame, flavor="sklern")


def test_a_signature_alone_will_do(ws: Workspace) -> None:
    frame = numbers()
    fitted = LogisticRegression(max_iter=1000).fit(frame, labels(frame))
    fields = (Field("distance", "float64"), Field("hour", "int64", required=False), Field("holiday", "boolean"))
    version = models.register(fitted, "m", signature=Signature(fields))
    assert [one.name for one in version.signature.outputs] == ["prediction", "probability"]
    fresh()
    assert models.load_model("m").predict(frame)["prediction"].to_list() == fitted.predict(frame).tolist()
    with pytest.raises(InvalidInput, match='"hour" twice'):
        models.register(fitted, "m", signature=Signature((*fields[:2], fields[1])))


def test_a_part_that_is_not_scikit_learns_needs_a_pickle_and_a_pickle_needs_leave(ws: Workspace) -> None:
    frame = numbers()
    own = make_pipeline(Halve(), LogisticRegression(max_iter=1000)).fit(frame, labels(frame))
    with pytest.raises(InvalidInput, match=r"estimators\.Halve.*allow_pickle=True"):
        models.register(own, "m", inputs=frame)
    with pytest.raises(InvalidInput, match=r"estimators\.Threshold can only be kept as a pickle"):
        models.register(Threshold(3), "m", inputs=rows())
    assert models.list_models(ws).items == []
    version = models.register(own, "m", inputs=frame, flavor="pickle", allow_pickle=True)
    assert version.pickled and version.flavor == "pickle"
    with pytest.raises(Refused, match=r"m@1 is kept as a pickle.*allow_pickle=True"):
        models.load_model("m")
    fresh()
    loaded = models.load_model("m", allow_pickle=True)
    assert loaded.predict(frame)["prediction"].to_list() == own.predict(frame).tolist()


def test_functions_and_objects_of_ones_own_answer_columns(ws: Workspace) -> None:
    frame = rows()
    models.register(Threshold(12), "object", inputs=frame, allow_pickle=True)
    models.register(estimators.by_hour, "function", inputs=frame, flavor="pickle", allow_pickle=True)
    fresh()
    by_object = models.load_model("object", allow_pickle=True)
    assert by_object.predict(frame)["prediction"].to_list() == (frame["hour"] > 12).to_list()
    by_function = models.load_model("function", allow_pickle=True).predict(frame)
    assert by_function["because"].to_list() == frame["carrier"].to_list()
    assert models.resolve("function").signature.outputs == (Field("prediction", "float64"), Field("because", "string"))
    with pytest.raises(InvalidInput, match="cannot be pickled"):
        models.register(lambda frame: frame["hour"], "m", inputs=frame, flavor="pickle", allow_pickle=True)


def test_a_model_file_is_trusted_by_this_codes_list_and_not_by_its_own(ws: Workspace) -> None:
    from skops import io as skops

    frame = numbers()
    own = make_pipeline(Halve(), LogisticRegression(max_iter=1000)).fit(frame, labels(frame))
    honest = read_manifest(
        ws.store, models.register(LinearRegression().fit(frame, frame["hour"]), "m", inputs=frame).artifact
    )
    smuggled = write_artifact(
        ws.store, {"model.skops": skops.dumps(own), "trusted.json": b'["estimators.Halve"]'}, honest
    )
    with pytest.raises(InvalidInput, match=r"refused.*estimators\.Halve") as refused:
        models.register_version(ws, name="m", artifact=smuggled)
    assert refused.value.details["refused"] == [
        '"model.skops" is a skops file that names "estimators.Halve"',
        '"trusted.json" is none of the files that such a model has',
    ]
    with pytest.raises(InvalidInput, match=r"types that are never loaded.*estimators\.Halve"):
        ScikitFlavor().load({"model.skops": skops.dumps(own)})  # the loader does not rely on the scan


@pytest.mark.parametrize("kind", ["forest", "boosting"])
def test_a_tree_that_points_outside_itself_is_named_before_it_is_asked(ws: Workspace, kind: str) -> None:
    from skops import io as skops

    frame = numbers()
    if kind == "forest":
        fitted: Any = RandomForestClassifier(3, random_state=0).fit(frame, labels(frame))
    else:
        fitted = HistGradientBoostingRegressor(max_iter=2).fit(frame, frame["hour"])
    version = models.register(fitted, "m", inputs=frame)
    if kind == "forest":
        state = fitted.estimators_[1].tree_.__getstate__()
        state["nodes"]["left_child"][0] = 10**6
        fitted.estimators_[1].tree_.__setstate__(state)
    else:
        fitted._predictors[1][0].nodes["feature_idx"][0] = 77
    crafted = write_artifact(ws.store, {"model.skops": skops.dumps(fitted)}, read_manifest(ws.store, version.artifact))
    models.register_version(ws, name="m", artifact=crafted)
    with pytest.raises(Damaged, match="made to do harm"):
        models.load_model("m@2")


def test_an_artifact_that_is_no_model_is_refused(ws: Workspace) -> None:
    nothing = ws.store.put(b"no manifest")
    with pytest.raises(InvalidInput, match="is no model"):
        models.register_version(ws, name="m", artifact=nothing)
    with pytest.raises(NotFound):
        models.register_version(ws, name="m", artifact="0" * 64)
    manifest = read_manifest(ws.store, make().artifact)
    import msgspec

    from trine.ids import canonical_json
    from trine.models.versions import Stored

    lost = msgspec.structs.replace(manifest, files=(Stored("model.skops", "1" * 64, 3),))
    with pytest.raises(InvalidInput, match="not in the store"):
        models.register_version(ws, name="m", artifact=ws.store.put(canonical_json(lost)))
    assert [one.name for one in models.list_models(ws).items] == ["delays"]


def test_a_flipped_byte_in_a_model_is_named_before_it_is_loaded(local_ws: Workspace) -> None:
    frame = numbers()
    fitted = RandomForestClassifier(100, random_state=0).fit(frame, labels(frame))
    version = models.register(fitted, "m", inputs=frame)
    stored = next(f for f in read_manifest(local_ws.store, version.artifact).files if f.path == "model.skops")
    assert local_ws.root is not None
    path = local_ws.root / "store" / "objects" / stored.hash[:2] / stored.hash
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    fresh()
    with pytest.raises(Damaged, match=r"m@1 cannot be loaded.*damaged"):
        models.load_model("m")


def test_a_model_that_answers_differently_here_is_refused(ws: Workspace) -> None:
    frame = numbers()
    version = models.register(LinearRegression().fit(frame, frame["hour"]), "m", inputs=frame)
    manifest = read_manifest(ws.store, version.artifact)
    files = {one.path: ws.store.get(one.hash) for one in manifest.files}
    assert set(files) == {"model.skops", "example.arrow", "answers.arrow"}
    from skops import io as skops

    files["model.skops"] = skops.dumps(LinearRegression().fit(frame, frame["hour"] * 2))
    models.register_version(ws, name="m", artifact=write_artifact(ws.store, files, manifest))
    with pytest.raises(Failure, match=r"m@2 does not answer its example as it did.*scikit-learn"):
        models.load_model("m@2")


def test_the_example_is_kept_only_as_far_as_asked(ws: Workspace) -> None:
    for kept in (0, 3):
        version = make(f"keep-{kept}", keep_example=kept)
        files = {f.path: f.hash for f in read_manifest(ws.store, version.artifact).files}
        assert ("example.arrow" in files) == (kept > 0)
        if kept:
            assert pl.read_ipc(ws.store.get(files["example.arrow"])).height == kept


# -- how a model is asked ---------------------------------------------------------------------------------------------


def several() -> list[Any]:
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        VotingClassifier,
    )
    from sklearn.model_selection import GridSearchCV
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import OrdinalEncoder
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeRegressor

    encode = make_column_transformer((OrdinalEncoder(), ["carrier"]), remainder="passthrough")
    found: list[Any] = []
    for frame in (rows(), pd.DataFrame(rows().to_dict(as_series=False))):
        found.append((pipeline(), frame))
        found.append((make_pipeline(encode, HistGradientBoostingClassifier(max_iter=5)), frame))
    for frame in (numbers(), pd.DataFrame(numbers().to_dict(as_series=False)), numbers().to_numpy()):
        found += [
            (estimator, frame)
            for estimator in (
                HistGradientBoostingClassifier(max_iter=5),
                HistGradientBoostingClassifier(max_iter=5, categorical_features=[1]),
                ExtraTreesClassifier(5, random_state=0),
                GradientBoostingClassifier(n_estimators=4),
                VotingClassifier([("a", GaussianNB()), ("b", ExtraTreesClassifier(3, random_state=0))], voting="soft"),
                GridSearchCV(RandomForestClassifier(3, random_state=0), {"max_depth": [2, 3]}, cv=2),
                KNeighborsClassifier(),
                LinearSVC(),
                DecisionTreeRegressor(max_depth=3),
            )
        ]
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_way_to_ask_gives_the_answer_of_the_model_on_its_own_kind_of_rows(local_ws: Workspace) -> None:
    for index, (estimator, frame) in enumerate(several()):
        wanted = rows() if "carrier" in getattr(frame, "columns", ()) else numbers()
        fitted = estimator.fit(frame, labels(wanted))
        name = f"m{index}"
        models.register(fitted, name, inputs=frame)
        fresh()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = models.load_model(name)
            answers = loaded.predict(frame)
            names = loaded.signature.names
            plain = wanted.rename(dict(zip(wanted.columns, names, strict=True)))
            if not hasattr(frame, "columns"):  # an array has one type of numbers
                plain = plain.cast(pl.Float64)
            by_columns = loaded.predict_columns({name: plain[name].to_list() for name in names})
            one_row = loaded.predict_rows(plain.head(1).rows())
            assert loaded.predict(plain.select(names[::-1])).equals(answers)  # in any order
        expected = fitted.predict(frame)
        assert answers["prediction"].to_list() == expected.tolist(), (estimator, type(frame))
        if hasattr(fitted, "predict_proba"):
            assert np.allclose(answers["probability"], fitted.predict_proba(frame)[:, 1], rtol=1e-12)
            assert np.allclose(by_columns["probability"], answers["probability"], rtol=1e-12)
            assert one_row["probability"][0] == pytest.approx(answers["probability"][0], rel=1e-12)
        assert by_columns["prediction"].tolist() == expected.tolist()
        assert one_row["prediction"].tolist() == expected[:1].tolist()


def test_missing_texts_reach_a_model_as_the_frame_it_was_fitted_on_says_them(ws: Workspace) -> None:
    import pandas as pd

    frame = rows().with_columns(carrier=pl.when(pl.col("hour") < 5).then(None).otherwise("carrier"))
    for name, own in (("polars", frame), ("pandas", pd.DataFrame(frame.to_dict(as_series=False)))):
        fitted = pipeline().fit(own, labels(frame))
        models.register(fitted, name, inputs=own)
        fresh()
        loaded = models.load_model(name)
        expected = fitted.predict_proba(own)[:, 1]
        assert np.allclose(loaded.predict(own)["probability"], expected, rtol=1e-12)
        assert np.allclose(loaded.predict(frame)["probability"], expected, rtol=1e-12)
        assert np.allclose(loaded.predict_rows(frame.rows())["probability"], expected, rtol=1e-12)


def test_more_than_two_classes_answer_a_probability_each(ws: Workspace) -> None:
    frame = numbers()
    fitted = RandomForestClassifier(5, random_state=0).fit(frame, rows()["carrier"].to_numpy())
    version = models.register(fitted, "carriers", inputs=frame)
    assert version.classes == ("B6", "DL", "UA")
    answers = models.load_model("carriers").predict(frame)
    assert answers.columns == ["prediction", "probability_B6", "probability_DL", "probability_UA"]
    assert np.allclose(answers.drop("prediction").to_numpy(), fitted.predict_proba(frame))


def test_no_rows_give_no_answers(ws: Workspace) -> None:
    make()
    answers = models.load_model("delays").predict(rows().head(0))
    assert answers.schema == {"prediction": pl.Boolean(), "probability": pl.Float64()}
    assert answers.height == 0


def test_rows_the_model_cannot_answer_are_bad_input(ws: Workspace) -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    frame = rows()
    strict = make_pipeline(make_column_transformer((OneHotEncoder(), ["carrier"])), LogisticRegression())
    models.register(strict.fit(frame, labels(frame)), "strict", inputs=frame)
    with pytest.raises(InvalidInput, match=r"strict@1 cannot answer these rows: Found unknown categories"):
        models.load_model("strict").predict(frame.with_columns(carrier=pl.lit("XX")))


def test_a_version_with_an_alias_cannot_be_deleted(ws: Workspace) -> None:
    make()
    models.promote("delays", 1)
    with pytest.raises(Conflict, match='alias "production" points at it'):
        models.delete_version(ws, name="delays", version=1)
    models.remove_alias(ws, name="delays", alias="production")
    models.delete_version(ws, name="delays", version=1)
    with pytest.raises(NotFound, match="no version left"):
        models.resolve("delays")
