"""The two protocols over real HTTP: what clients of each send and get, and what bad input is told."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from trine import models, serving
from trine.ids import now_us
from trine.serving import Client, Variant
from trine.serving.app import Application
from trine.workspace import Workspace, connect, using

from .conftest import ROWS, Constant, register_delays, running

Start = Callable[..., Client]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[tuple[Workspace, str]]:
    """One server for all tests that only look at the wire."""
    root = tmp_path_factory.mktemp("wire") / ".trine"
    root.mkdir()
    shutil.copy(sqlite_template, root / "ledger.db")
    with connect(root.parent) as ws:
        register_delays(ws)
        serving.create_endpoint("delays", model="delays@1", ws=ws)
        with running(Application(ws, ["delays"])) as url:
            yield ws, url


@pytest.fixture
def url(shared: tuple[Workspace, str]) -> Iterator[str]:
    ws, url = shared
    with using(ws):
        yield url


@pytest.fixture
def ws(local_ws: Workspace) -> Workspace:
    """The wire is the same over every backend; the log and the routes are tested over all of them elsewhere."""
    return local_ws


def logged(answer: httpx.Response) -> pl.DataFrame:
    """What the log has of one request."""
    frame = serving.predictions("delays", rejected=True)
    return frame.filter(pl.col("request_id") == answer.headers["x-trine-prediction-id"])


def ask(url: str, body: Any, path: str = "/invocations", **options: Any) -> httpx.Response:
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return httpx.post(url + path, content=content, headers={"content-type": "application/json"}, **options)


def expected() -> list[dict[str, Any]]:
    answers = models.load_model("delays@1").predict(ROWS)
    return answers.to_dicts()


def close(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [one["prediction"] for one in found] == [one["prediction"] for one in wanted]
    np.testing.assert_allclose(
        [one["probability"] for one in found], [one["probability"] for one in wanted], rtol=1e-12
    )


@pytest.mark.parametrize("path", ["/invocations", "/endpoints/delays/invocations"])
@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["n", "x"], "data": [[n, x] for x, n in ROWS.rows()]}},
        {
            "dataframe_split": {
                "columns": ["x", "n"],
                "index": [5, 4, 3, 2, 1, 0],
                "data": [list(r) for r in ROWS.rows()],
            }
        },
        {"dataframe_records": ROWS.to_dicts()},
        {"instances": ROWS.to_dicts()},
        {"instances": [list(row) for row in ROWS.rows()]},
        {"inputs": ROWS.to_dict(as_series=False)},
        {"inputs": [list(row) for row in ROWS.rows()], "params": {}},
    ],
)
def test_every_form_of_mlflow_gets_the_same_answer(url: str, body: dict[str, Any], path: str) -> None:
    answer = ask(url, body, path)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    close(said["predictions"], expected())
    assert len(set(said["prediction_ids"])) == 6
    assert said["prediction_ids"] == sorted(said["prediction_ids"])
    assert said["model_versions"] == ["delays@1"] * 6
    assert answer.headers["x-trine-prediction-ids"].split(",") == said["prediction_ids"]
    assert answer.headers["x-trine-prediction-id"] == said["prediction_ids"][0]
    assert (answer.headers["x-trine-model-version"], answer.headers["x-trine-route"]) == ("delays@1", "1")
    assert answer.headers["x-trine-variant"] == "main"


def test_csv_is_read_with_its_types(url: str) -> None:
    answer = httpx.post(
        url + "/invocations", content=ROWS.write_csv(), headers={"content-type": "text/csv; charset=utf-8"}
    )
    close(answer.json()["predictions"], expected())
    for text, words in (
        ("x,n\n1.0,two\n", "Row 0, column \"n\": 'two' is no number"),
        ("x,n\n1.0,2\nnan,3\n", "Row 1, column \"x\": 'nan' is no number"),
        ("x,n\n1.0,\n", 'Row 0, column "n": a value is required'),
        ("x,n\n1.0\n", "Row 0 has 1 values for 2 columns"),
        ("", "The CSV is empty"),
        ("x,m\n1,2\n", 'Column "m" is none'),
    ):
        wrong = httpx.post(url + "/invocations", content=text, headers={"content-type": "text/csv"})
        assert wrong.status_code == 422
        assert words in wrong.json()["error"]


def tensors(rows: pl.DataFrame, **more: Any) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "x", "shape": [rows.height], "datatype": "FP64", "data": rows["x"].to_list()},
            {"name": "n", "shape": [rows.height, 1], "datatype": "INT64", "data": [[n] for n in rows["n"]]},
        ],
        **more,
    }


@pytest.mark.parametrize("path", ["/v2/models/delays/infer", "/v2/models/delays/versions/1/infer"])
def test_the_open_inference_protocol_answers_in_tensors(url: str, path: str) -> None:
    said = ask(url, tensors(ROWS, id="mine"), path).json()
    assert (said["model_name"], said["model_version"], said["id"]) == ("delays", "1", "mine")
    by_name = {one["name"]: one for one in said["outputs"]}
    assert (by_name["prediction"]["datatype"], by_name["prediction"]["shape"]) == ("BOOL", [6])
    assert (by_name["probability"]["datatype"], by_name["probability"]["shape"]) == ("FP64", [6])
    rows = [
        dict(zip(by_name, row, strict=True)) for row in zip(*(one["data"] for one in by_name.values()), strict=True)
    ]
    close(rows, expected())
    assert len(said["parameters"]["prediction_ids"]) == 6
    only = ask(url, tensors(ROWS, outputs=[{"name": "probability"}]), path).json()
    assert [one["name"] for one in only["outputs"]] == ["probability"]


def test_a_matrix_goes_by_position(url: str) -> None:
    values = [value for row in ROWS.rows() for value in row]
    for data in (values, [list(row) for row in ROWS.rows()]):
        body = {
            "inputs": [{"name": "input-0", "shape": [6, 2], "datatype": "INT32", "data": json.loads(json.dumps(data))}]
        }
        said = ask(url, body, "/v2/models/delays/infer")
        assert said.status_code == 200, said.text
        assert said.json()["outputs"][0]["shape"] == [6]


def test_health_and_metadata_say_what_the_protocols_want(url: str) -> None:
    get = lambda path: httpx.get(url + path)  # noqa: E731
    assert get("/v2/health/live").json() == {"live": True}
    assert get("/v2/health/ready").json() == {"ready": True}
    assert get("/v2").json()["name"] == "trine"
    assert get("/v2/models/delays/ready").status_code == 200
    assert get("/v2/models/delays/versions/1/ready").status_code == 200
    assert get("/v2/models/delays/versions/2/ready").status_code == 404
    assert get("/v2/models/delays").json() == {
        "name": "delays",
        "versions": ["1"],
        "platform": "trine",
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1]}, {"name": "n", "datatype": "INT64", "shape": [-1]}],
        "outputs": [
            {"name": "prediction", "datatype": "BOOL", "shape": [-1]},
            {"name": "probability", "datatype": "FP64", "shape": [-1]},
        ],
    }
    for path in ("/ping", "/health", "/version"):
        assert get(path).status_code == 200
    assert get("/endpoints/delays").json()["inputs"][0] == {"name": "x", "dtype": "float64", "required": True}
    assert httpx.head(url + "/ping").status_code == 200


@pytest.mark.parametrize("path", ["/invocations", "/v2/models/delays/infer"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no valid JSON"),
        (b"{", "no valid JSON"),
        (b'{"parameters": {"a": ' + b"[" * 100_000, "no valid JSON|unknown field"),
        (b"\xff\xfe", "no valid JSON"),
        (b"null", "The body is no"),
        (b"[]", "The body is no"),
        (b"{}", "needs exactly one of|missing required field"),
    ],
)
def test_what_is_no_request_is_told(url: str, path: str, body: bytes, words: str) -> None:
    answer = ask(url, body, path)
    assert answer.status_code == 422
    assert re.search(words, answer.json()["error"])


def split(x: Any, n: Any = 1, columns: Any = ("x", "n")) -> dict[str, Any]:
    return {"dataframe_split": {"columns": list(columns), "data": [[0.5, 1], [x, n]]}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (split(None), 'Row 1, column "x": a value is required (float64), not null.'),
        (split(True), 'Row 1, column "x": expected a number (float64), not true.'),
        (split("a"), "Row 1, column \"x\": expected a number (float64), not 'a'."),
        (split([1]), 'Row 1, column "x": expected a number (float64), not an array.'),
        (split({}), 'Row 1, column "x": expected a number (float64), not an object.'),
        (split(1, 1.5), 'Row 1, column "n": expected a whole number (int64), not 1.5.'),
        (split(1, True), 'Row 1, column "n": expected a whole number (int64), not true.'),
        (split(1, 2**63), 'Row 1, column "n": 9223372036854775808 is out of the range of int64.'),
        (split(10**400), 'Row 1, column "x": 1000000000'),
        ('{"dataframe_split": {"columns": ["x", "n"], "data": [[NaN, 1]]}}', "NaN and Infinity are no JSON"),
        ('{"dataframe_split": {"columns": ["x", "n"], "data": [[1e999, 1]]}}', "out of range"),
        (split(1, 1, ("x", "m")), 'Column "m" is none of the endpoint\'s.'),
        (split(1, 1, ("x", "x")), 'Column "x" is there twice.'),
        ({"dataframe_split": {"columns": ["x"], "data": [[1]]}}, 'Column "n" (int64) is missing.'),
        ({"dataframe_split": {"columns": ["x", "n"], "data": [[1, 2], [1, 2, 3]]}}, "Row 1 has 3 values for 2 columns."),
        ({"dataframe_split": {"columns": ["x", "n"], "data": [[1, 2], 3]}}, "$.dataframe_split.data[1]"),
        ({"dataframe_records": [{"x": 1, "n": 1}, {"x": 1}]}, 'Row 1, column "n": a value is required'),
        ({"dataframe_records": [{"x": 1, "n": 1}, {"x": 1, "n": 1, "z": 1}]}, 'Row 1: Column "z" is none'),
        ({"instances": [[1, 2], {"x": 1}]}, "not a mixture"),
        ({"instances": [1, 2]}, "A row is one value, but there are 2 columns"),
        ({"inputs": {"x": [1.0], "n": [1, 2]}}, "different lengths"),
        ({"inputs": {"x": 1.0, "n": [1]}}, 'Column "x" of inputs must be an array'),
        ({"inputs": {"x": [1.0], "n": [1]}, "instances": []}, "needs exactly one of"),
        ({"inputs": {"x": [1.0], "n": [1]}, "params": {"t": 1}}, "no params"),
        ({"inputs": {"x": [1.0], "n": [1]}, "keys": ["a", "b"]}, "2 keys for 1 rows"),
        ({"dataframe": []}, "unknown field `dataframe`"),
    ],
)  # fmt: skip
def test_bad_rows_are_told_with_row_and_column(url: str, body: Any, words: str) -> None:
    answer = ask(url, body)
    assert answer.status_code == 422
    said = answer.json()
    assert words in said["error"]
    assert said["message"] == said["error"]  # where MLflow's clients look
    (kept,) = logged(answer).to_dicts()
    assert (kept["status"], kept["x"], kept["error"]) == ("rejected", None, said["error"])


def tensor(**changes: Any) -> dict[str, Any]:
    good = tensors(ROWS.head(2))
    good["inputs"][0] |= changes
    return good


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (tensor(data=[1.0]), "has shape [2], so 2 values, but 1 came"),
        (tensor(shape=[2, 1], data=[[1.0], [2.0, 3.0]]), "row 1: nested data must have the shape"),
        (tensor(shape=[2, 3]), "a column is [rows] or [rows, 1]"),
        (tensor(shape=[-2]), "sizes are 0 or more"),
        (tensor(shape=[3], data=[1.0, 2.0, 3.0]), 'Tensor "n" has 2 rows, the one before it 3'),
        (tensor(datatype="FP8"), "datatype 'FP8', which is none of"),
        (tensor(datatype="BYTES"), 'Tensor "x" is BYTES; column "x" takes FP64 (float64)'),
        (tensor(datatype="INT8", data=[300, 1]), "300 is out of the range of int8"),
        (tensor(datatype="FP32", data=[1e39, 1]), "out of the range of float32"),
        (tensor(data=[None, 1.0]), 'Row 0, column "x": a value is required'),
        (tensor(data=[True, 1.0]), "not true"),
        (tensor(name="y"), 'Column "y" is none'),
        (tensor(name="n"), 'Column "n" is there twice'),
        (tensor(parameters={"binary_data_size": 16}), "binary tensors are not taken"),
        ({"inputs": []}, "has no inputs"),
        ({"inputs": [{"name": "m", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}]}, "has 3 columns"),
        (tensors(ROWS, parameters={"keys": 3}), "parameters.keys"),
        (tensors(ROWS, outputs=[{"name": "nothing"}]), 'no output "nothing"'),
    ],
)
def test_bad_tensors_are_told(url: str, body: Any, words: str) -> None:
    answer = ask(url, body, "/v2/models/delays/infer")
    assert answer.status_code == 422
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["x", "n"], "data": []}},
        {"dataframe_records": []},
        {"instances": []},
        {"inputs": {}},
        {"inputs": {"x": [], "n": []}},
    ],
)
def test_no_rows_get_no_answers(url: str, body: Any) -> None:
    answer = ask(url, body)
    assert answer.status_code == 200
    assert answer.json()["predictions"] == []
    empty = ask(url, tensors(ROWS.head(0)), "/v2/models/delays/infer").json()
    assert [one["shape"] for one in empty["outputs"]] == [[0], [0]]
    assert "x-trine-prediction-id" not in answer.headers


def test_what_is_not_there_and_what_is_too_large(url: str) -> None:
    assert ask(url, {}, "/v2/models/delay/infer").status_code == 404
    assert ask(url, {}, "/endpoints/delay/invocations").json()["error"].startswith('There is no endpoint "delay" here')
    assert ask(url, tensors(ROWS), "/v2/models/delays/versions/2/infer").status_code == 404
    assert ask(url, {}, "/nothing").status_code == 404
    assert httpx.get(url + "/invocations").status_code == 405
    assert httpx.delete(url + "/v2/models/delays").status_code == 405
    assert ask(url, b" " * (17 << 20)).status_code == 413
    many = ask(url, {"inputs": {"x": [1] * 100_001, "n": [1] * 100_001}})
    assert many.status_code == 413
    assert "100,001 rows" in many.json()["error"]
    chunked = httpx.post(url + "/invocations", content=(b" " * (1 << 20) for _ in range(18)))
    assert chunked.status_code == 413
    assert httpx.post(url + "/invocations", content=b"{}", headers={"content-type": "text/html"}).status_code == 422
    assert httpx.post(url + "/invocations", content=b"{}", headers={"content-encoding": "gzip"}).status_code == 422


def test_numbers_that_are_the_same_number_are_taken(url: str) -> None:
    body = {"dataframe_split": {"columns": ["x", "n"], "data": [[1, 3.0]]}}
    answer = ask(url, body)
    assert answer.status_code == 200
    assert logged(answer).select("x", "n").rows() == [(1.0, 3)]


def test_a_model_that_fails_is_told_apart_and_logged(ws: Workspace, constants: str, server: Start) -> None:
    serving.create_endpoint("broken", model="constant@1")
    client = server(ws, "broken")
    answer = ask(client.url, {"inputs": {"x": [666.0, 1.0], "n": [1, 2]}})
    assert answer.status_code == 502
    said = answer.json()
    assert (said["code"], said["error_code"]) == ("model_failed", "INTERNAL_ERROR")
    assert "RuntimeError: the model broke" in said["error"]
    kept = serving.predictions("broken")
    assert kept["status"].to_list() == ["error", "error"]
    assert kept["prediction_id"][0] == answer.headers["x-trine-prediction-id"] == said["details"]["prediction_id"]
    assert kept["x"].to_list() == [666.0, 1.0]
    assert ask(client.url, tensors(ROWS), "/v2/models/broken/infer").status_code == 200


def test_dates_texts_and_missing_values_arrive_as_such(ws: Workspace, server: Start) -> None:
    rows = pl.DataFrame(
        {
            "day": [dt.date(2026, 1, 2), None],
            "at": [dt.datetime(2026, 1, 2, 3, 4, 5, 6), None],
            "who": ["ana", None],
            "yes": [True, None],
            "x": [1.5, None],
        }
    )
    models.register(Constant(0), "wide", inputs=rows.with_columns(pl.col("x").fill_null(0)), allow_pickle=True)
    serving.create_endpoint("wide", model="wide")
    client = server(ws, "wide")
    sent = rows.with_columns(pl.col("x").fill_null(2.0))
    answers = client.predict("wide", sent)
    assert [one.prediction for one in answers] == [0.0, 0.0]
    assert serving.predictions("wide").select(rows.columns).equals(sent)
    zoned = {"day": "2026-01-02", "at": "2026-01-02T05:04:05+02:00", "who": "ü", "yes": False, "x": 1}
    assert ask(client.url, {"dataframe_records": [zoned]}).status_code == 200
    assert serving.predictions("wide")["at"][2] == dt.datetime(2026, 1, 2, 3, 4, 5)
    for name, value in (
        ("day", "2026-13-01"),
        ("day", 5),
        ("at", "yesterday"),
        ("who", 5),
        ("yes", 1),
        ("yes", "true"),
    ):
        answer = ask(client.url, {"dataframe_records": [{**zoned, name: value}]})
        assert answer.status_code == 422
        assert f'Row 0, column "{name}"' in answer.json()["error"]
    assert ask(client.url, {"dataframe_records": [{"x": 1}]}).status_code == 200  # the others may be missing


def test_several_endpoints_share_a_process(ws: Workspace, model: str, constants: str, server: Start) -> None:
    serving.create_endpoint("delays", model="delays@1")
    serving.create_endpoint("constant", model="constant@2")
    serving.create_endpoint("later")
    client = server(ws, "delays", "constant", "later")
    assert client.predict("constant", ROWS)[0].prediction == 2.0
    assert client.predict("delays", ROWS)[0].probability is not None
    body = {"inputs": {"x": [1.0], "n": [1]}}
    wrong = ask(client.url, body)
    assert wrong.status_code == 404
    assert "/endpoints/NAME/invocations" in wrong.json()["error"]
    waiting = ask(client.url, body, "/endpoints/later/invocations")
    assert waiting.status_code == 409
    assert "no model yet" in waiting.json()["error"]
    assert not client.is_ready()


def test_a_large_request_is_answered_in_order(ws: Workspace, model: str, server: Start) -> None:
    serving.create_endpoint("delays", model="delays@1")
    serving.set_route("delays", [Variant("a", "delays@1", 1), Variant("b", "delays@2", 1)])
    client = server(ws, "delays")
    count = 25_000  # more than one frame of the log holds
    rows = pl.DataFrame({"x": np.linspace(-5, 10, count), "n": range(count)})
    client._ask("delays", {"inputs": rows.to_dict(as_series=False)})
    assert serving.predictions("delays")["n"].sort().to_list() == list(range(count))
    began, rows = now_us(), rows.tail(2_500)
    answers = client.predict("delays", rows, keys=[str(i) for i in range(2_500)])
    by_version = {ref: models.load_model(ref).predict(rows) for ref in ("delays@1", "delays@2")}
    wanted = [by_version[one.model_version]["probability"][at] for at, one in enumerate(answers)]
    np.testing.assert_allclose([one.probability for one in answers], wanted, rtol=1e-9)
    assert {one.variant for one in answers} == {"a", "b"}
    kept = serving.predictions("delays", since_us=began).sort("n")
    assert kept["prediction_id"].to_list() == [one.id for one in answers]
    assert kept["variant"].to_list() == [one.variant for one in answers]
    assert kept["key"].to_list() == [str(i) for i in range(2_500)]


def test_a_key_column_that_is_no_input_may_be_sent(ws: Workspace, model: str, server: Start) -> None:
    serving.create_endpoint("delays", model="delays@1", key="customer")
    serving.set_route("delays", [Variant("a", "delays@1", 1), Variant("b", "delays@2", 1)])
    client = server(ws, "delays")
    rows = pl.DataFrame({"x": [1.0] * 40, "n": [1] * 40, "customer": list(range(40))})
    first, second = client.predict("delays", rows), client.predict("delays", rows)
    assert [one.variant for one in first] == [one.variant for one in second]
    assert len({one.variant for one in first}) == 2
    header = {"x-trine-key": "7", "content-type": "application/json"}
    body = {"inputs": {"x": [1.0], "n": [1]}}
    answer = httpx.post(client.url + "/invocations", json=body, headers=header)
    assert answer.headers["x-trine-variant"] == first[7].variant
    assert "customer" not in serving.predictions("delays").columns
