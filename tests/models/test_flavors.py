"""Each flavor: what is registered answers after loading as it did before, in the library's own safe form."""

from __future__ import annotations

import math
from typing import Any

import estimators
import lightgbm
import numpy as np
import onnx
import polars as pl
import pytest
import xgboost
from estimators import labels, numbers
from onnx import TensorProto, helper

from trine import models
from trine.errors import InvalidInput, TrineError
from trine.models import loading
from trine.models.flavors import flavors
from trine.workspace import Workspace

LIMIT = 12
QUIET: dict[str, Any] = {"n_estimators": 4, "max_depth": 3}


def plain(count: int = 300) -> pl.DataFrame:
    return numbers(count).cast({"holiday": pl.Float64})


def codes(frame: pl.DataFrame) -> Any:
    return frame["hour"].to_numpy() // 8


def fresh() -> None:
    with loading._lock:
        loading._kept.clear()


def same(ws: Workspace, fitted: Any, *, feed: Any = None, **expected: Any) -> models.ModelVersion:
    """Register, load in a process that forgot the model, and compare with what the library itself answers."""
    frame = plain()
    version = models.register(fitted, "m", inputs=frame if feed is None else feed)
    assert not version.pickled
    fresh()
    answers = models.load_model(version).predict(frame)
    for name, values in expected.items():
        found = answers[name].to_numpy()
        assert np.allclose(found, values, atol=1e-6) if found.dtype.kind == "f" else (found == values).all()
    return version


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_xgboost_classifiers_answer_labels_and_probabilities(local_ws: Workspace, booster: str) -> None:
    frame = plain()
    x, late = frame.to_numpy(), labels(frame).astype(int)
    fitted = xgboost.XGBClassifier(booster=booster, **QUIET).fit(x, late)
    version = same(local_ws, fitted, prediction=fitted.predict(x), probability=fitted.predict_proba(x)[:, 1])
    assert version.flavor == "xgboost" and version.classes == (0, 1)
    several = xgboost.XGBClassifier(**QUIET).fit(x, codes(frame))
    same(local_ws, several, prediction=several.predict(x), probability_2=several.predict_proba(x)[:, 2])


def test_xgboost_boosters_and_regressors_answer_numbers(local_ws: Workspace) -> None:
    frame = plain()
    x = frame.to_numpy()
    fitted = xgboost.XGBRegressor(early_stopping_rounds=1, **QUIET).fit(
        x, codes(frame), eval_set=[(x, -codes(frame))], verbose=False
    )
    assert fitted.best_iteration < 3
    same(local_ws, fitted, prediction=fitted.predict(x))
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, labels(frame)), 3)
    version = same(local_ws, booster, prediction=booster.predict(xgboost.DMatrix(x)))
    assert version.classes == ()
    assert type(models.load_model(version).native.booster) is xgboost.Booster


def test_lightgbm_models_answer_as_they_did(local_ws: Workspace) -> None:
    frame = plain()
    x = frame.to_numpy()
    words = np.where(labels(frame), "late", "punctual")
    fitted = lightgbm.LGBMClassifier(verbose=-1, **QUIET).fit(x, words, categorical_feature=[1])
    version = same(local_ws, fitted, prediction=fitted.predict(x), probability=fitted.predict_proba(x)[:, 1])
    assert version.flavor == "lightgbm" and version.classes == ("late", "punctual")
    several = lightgbm.LGBMClassifier(verbose=-1, **QUIET).fit(x, codes(frame))
    same(local_ws, several, prediction=several.predict(x), probability_1=several.predict_proba(x)[:, 1])
    number = lightgbm.LGBMRegressor(verbose=-1, **QUIET).fit(x, codes(frame))
    same(local_ws, number, prediction=number.predict(x))
    same(local_ws, number.booster_, prediction=number.predict(x))


def test_missing_numbers_reach_boosted_trees_as_missing(local_ws: Workspace) -> None:
    frame = plain().with_columns(distance=pl.when(pl.col("hour") > 4).then("distance"))
    fitted = lightgbm.LGBMRegressor(verbose=-1, **QUIET).fit(frame.to_numpy(), codes(frame))
    models.register(fitted, "m", inputs=frame)
    found = models.load_model("m").predict(frame)["prediction"].to_numpy()
    assert np.allclose(found, fitted.predict(frame.to_numpy()))


def test_what_no_file_can_keep_is_told(local_ws: Workspace) -> None:
    frame = plain()
    with pytest.raises(InvalidInput, match="XGBClassifier is not fitted"):
        models.register(xgboost.XGBClassifier(), "m", inputs=frame)
    with pytest.raises(InvalidInput, match="LGBMRegressor is not fitted"):
        models.register(lightgbm.LGBMRegressor(), "m", inputs=frame)
    linear = xgboost.XGBRegressor(booster="gblinear", n_estimators=2).fit(frame.to_numpy(), codes(frame))
    with pytest.raises(InvalidInput, match="gblinear"):
        models.register(linear, "m", inputs=frame)

    def own(truth: Any, score: Any) -> Any:
        return score - truth, np.ones_like(score)

    fitted = lightgbm.LGBMRegressor(objective=own, verbose=-1, **QUIET).fit(frame.to_numpy(), codes(frame))
    with pytest.raises(InvalidInput, match="objective of your own"):
        models.register(fitted, "m", inputs=frame)


def graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], tensors: list[Any], **more: Any) -> Any:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3), *more.pop("opsets", [])]
    made = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(made, opset_imports=opsets, ir_version=8, **more)


def linear() -> Any:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 1], [0.001, 0.5, -1.0])
    return graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [weights],
    )


def classifier() -> Any:
    node = helper.make_node(
        "LinearClassifier", ["x"], ["label", "shares"], domain="ai.onnx.ml", post_transform="SOFTMAX",
        classlabels_strings=["ok", "late"], coefficients=[0.0, -0.1, 0.0, 0.0, 0.1, 0.0], intercepts=[1.0, -1.0],
    )  # fmt: skip
    return graph(
        [node],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
            helper.make_tensor_value_info("shares", TensorProto.FLOAT, [None, 2]),
        ],
        [],
    )


def test_onnx_graphs_are_run_by_the_runtime(local_ws: Workspace) -> None:
    frame = plain()
    score = frame["distance"].to_numpy() * 0.001 + frame["hour"].to_numpy() * 0.5 - frame["holiday"].to_numpy()
    version = same(local_ws, linear(), prediction=score)
    assert version.flavor == "onnx"
    hour = frame["hour"].to_numpy() * 0.1
    share = 1 / (1 + np.exp(1 + 1 - 2 * hour))
    version = same(local_ws, classifier(), probability=share, prediction=np.where(share > 0.5, "late", "ok"))
    assert version.classes == ("ok", "late")


def test_onnx_graphs_of_named_columns_get_a_column_each(local_ws: Workspace) -> None:
    concat = graph(
        [
            helper.make_node("Cast", ["hour"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["distance", "number"], ["y"]),
        ],
        [
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("hour", TensorProto.INT64, [None, 1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [],
    )
    frame = plain().select("distance", "hour")
    models.register(concat, "m", inputs=frame)
    fresh()
    found = models.load_model("m").predict(frame)["prediction"].to_numpy()
    assert np.allclose(found, (frame["distance"] + frame["hour"]).to_numpy(), rtol=1e-5)


def test_an_onnx_file_that_reaches_outside_itself_is_refused(local_ws: Workspace) -> None:
    outside = linear()
    tensor = outside.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(TrineError, match='tensor "w" is kept in another file'):
        models.register(outside, "m", inputs=plain())
    foreign = linear()
    foreign.graph.node[0].domain = "evil.ops"
    with pytest.raises(InvalidInput, match=r'operators of "evil\.ops"'):
        models.register(foreign, "m", inputs=plain())


def helped(rows: pl.DataFrame) -> pl.Series:
    return rows["hour"] + LIMIT


def by_rule(rows: pl.DataFrame) -> pl.DataFrame:
    """A function with a constant, a library and another function."""
    score = [math.exp(-one / 10) for one in helped(rows).to_list()]
    late = np.where(rows["hour"].to_numpy() > LIMIT, "late", "ok")
    return rows.select(pl.Series("prediction", late), pl.Series("score", score))


def test_a_plain_function_is_kept_as_its_source(ws: Workspace) -> None:
    frame = numbers(50)
    version = models.register(by_rule, "rule", inputs=frame)
    assert (version.flavor, version.pickled) == ("python", False)
    fresh()
    loaded = models.load_model("rule")
    assert loaded.predict(frame).equals(by_rule(frame))
    source = next(
        one for one in models.artifact.read_manifest(ws.store, version.artifact).files if one.path == "model.py"
    )
    text = ws.store.get(source.hash).decode()
    assert "import numpy as np" in text and "LIMIT = 12" in text and "def helped" in text and "def by_rule" in text


HOSTILE = {
    "an import": "import os\ndef f(rows): return rows['x']",
    "an import from": "from os import system\ndef f(rows): return rows['x']",
    "an import inside": "def f(rows):\n    import subprocess\n    return rows['x']",
    "a submodule": "import numpy.ctypeslib as c\ndef f(rows): return rows['x']",
    "eval": "def f(rows): return eval('1')",
    "open": "def f(rows): return open('/etc/passwd')",
    "getattr": "def f(rows): return getattr(rows, 'x')",
    "__import__": "def f(rows): return __import__('os')",
    "dunder": "def f(rows): return rows.__class__.__mro__",
    "globals of a function": "def f(rows): return f.__globals__",
    "a generator's frame": "def f(rows): return (1 for x in rows).gi_frame",
    "numpy.load": "import numpy as np\ndef f(rows): return np.load('/tmp/x', allow_pickle=True)",
    "reading a file": "import polars as pl\ndef f(rows): return pl.read_csv('/etc/passwd')",
    "writing a file": "def f(rows): return rows.write_csv('/tmp/x')",
    "plugins": "import polars as pl\ndef f(rows): return pl.plugins.register_plugin_function()",
    "SQL": "def f(rows): return rows.sql(\"select * from read_csv('/etc/passwd')\")",
    "unpickling a frame": "import polars as pl\ndef f(rows): return pl.DataFrame.deserialize(b'')",
    "format": "def f(rows): return '{0.__class__}'.format(rows)",
    "patching a library": "import numpy as np\ndef f(rows):\n    np.exp = f\n    return rows['x']",
    "a class": "class C: pass\ndef f(rows): return rows['x']",
    "a decorator": "@print\ndef f(rows): return rows['x']",
    "code before the function": "x = [1].append(2)\ndef f(rows): return rows['x']",
    "a call before the function": "import numpy as np\nnp.ones(3)\ndef f(rows): return rows['x']",
    "try": "def f(rows):\n    try:\n        return 1\n    except ValueError as e:\n        return e",
    "with": "def f(rows):\n    with rows: return 1",
    "while": "def f(rows):\n    while True: pass",
    "async": "async def f(rows): return 1",
    "yield": "def f(rows): yield 1",
    "global": "def f(rows):\n    global x\n    x = 1\n    return rows['x']",
    "delete": "def f(rows):\n    del rows\n    return 1",
    "no function": "x = 1",
    "no Python": "def f(rows) return",
    "match": "def f(rows):\n    match rows:\n        case str(): return 1",
    "type": "def f(rows): return type(rows)",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_source_that_could_do_more_than_compute_is_refused(what: str) -> None:
    flavor = flavors()["python"]
    with pytest.raises(InvalidInput):
        flavor.load({"model.py": HOSTILE[what].encode()})


def test_a_function_that_needs_more_is_told_what_and_how_to_keep_it(local_ws: Workspace) -> None:
    def reads(rows: pl.DataFrame) -> Any:
        return pl.read_csv("/etc/passwd")

    shift = 3

    def enclosed(rows: pl.DataFrame) -> Any:
        return rows["hour"] + shift

    frame = numbers(20)
    with pytest.raises(InvalidInput, match=r'Line \d+ .*"\.read_csv".*flavor="pickle", allow_pickle=True'):
        models.register(reads, "m", inputs=frame)
    with pytest.raises(InvalidInput, match="enclosed uses shift of the function around it"):
        models.register(enclosed, "m", inputs=frame)
    with pytest.raises(InvalidInput, match="lambda has no name"):
        models.register(lambda rows: rows["hour"], "m", inputs=frame)
    with pytest.raises(InvalidInput, match="uses Threshold, a type"):
        models.register(estimators.by_threshold, "m", inputs=frame)
    assert models.list_models(local_ws).items == []


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for library in ("xgboost", "lightgbm", "onnxruntime", "torch", "transformers"):
        monkeypatch.setitem(sys.modules, library, None)
    for name, extra in (
        ("xgboost", "xgboost"),
        ("lightgbm", "lightgbm"),
        ("onnx", "onnx"),
        ("torch", "torch"),
        ("transformers", "transformers"),
    ):
        with pytest.raises(InvalidInput, match=rf"pip install 'trine\[{extra}\]'"):
            flavors()[name].load({})


def test_torch_layers_are_named_by_the_loaders_list() -> None:
    flavor: Any = flavors()["torch"]
    good = b'{"kind":"Sequential","inner":[["0",{"kind":"Linear","arguments":{"in_features":3,"out_features":1,"bias":true}}]]}'
    flavor.check({"layers.json": good})
    for bad in (b'{"kind":"Module"}', b'{"kind":"Linear","inner":[["0",{"kind":"ReLU"}]]}', b'{"kind":"os.system"}'):
        with pytest.raises(InvalidInput, match="not among the layers that are safe"):
            flavor.check({"layers.json": bad})


def test_a_transformers_configuration_that_names_code_is_refused() -> None:
    flavor: Any = flavors()["transformers"]
    flavor.check({"config.json": b"{}", "tokenizer_config.json": b"{}"})
    with pytest.raises(InvalidInput, match="auto_map"):
        flavor.check({"config.json": b'{"auto_map": {"AutoModel": "evil--x.Y"}}', "tokenizer_config.json": b"{}"})
    assert isinstance(onnx.__version__, str)
