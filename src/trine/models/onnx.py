"""The `onnx` flavor: a graph of standard operators, run by ONNX Runtime. Nothing outside the file is ever read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trine.errors import InvalidInput
from trine.extras import need
from trine.models.answers import class_answers, class_outputs, matrix, value_answers
from trine.models.boosted import crafted

if TYPE_CHECKING:
    from trine.models.flavors import Answers, Ask
    from trine.models.signature import Field

FILE = "model.onnx"
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Sets of operators that ONNX Runtime itself brings; others would be a library of somebody's."""

_ARRAYS = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64", "tensor(int32)": "int32",
    "tensor(bool)": "bool", "tensor(string)": "object",
}  # fmt: skip


@dataclass(frozen=True)
class Graph:
    """A graph that can be asked: its runtime session, and the labels that its last node tells apart."""

    session: Any
    classes: tuple[Any, ...]
    data: bytes


class OnnxFlavor:
    """Registered from an onnx.ModelProto. One input takes the columns as a matrix, several take a column each, by order.

    Of its outputs one is the prediction; a second one, with a column a label, are probabilities.
    """

    name = "onnx"
    pickles = False
    forms: Mapping[str, str] = {FILE: "any"}

    def matches(self, native: Any) -> bool:
        return isinstance(native, Graph) or type(native).__name__ == "ModelProto"

    def save(self, native: Any) -> dict[str, bytes]:
        data = native.data if isinstance(native, Graph) else native.SerializeToString()
        self.check({FILE: data})
        return {FILE: data}

    def load(self, files: Mapping[str, bytes]) -> Graph:
        runtime = need("onnxruntime", extra="onnx", purpose="An ONNX model")
        self.check(files)
        try:
            session = runtime.InferenceSession(files[FILE], providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has a class of error for each of its states, and no common one
            raise InvalidInput(
                f"The model file cannot be run by this ONNX Runtime: {str(error).splitlines()[0]}"
            ) from error
        return Graph(session, _labels(_parsed(files[FILE])), files[FILE])

    def check(self, files: Mapping[str, bytes]) -> None:
        model = _parsed(files[FILE])
        for one in _messages(model):
            kind = type(one).__name__
            if kind == "TensorProto" and (one.data_location or one.external_data):
                raise crafted(f'tensor "{one.name}" is kept in another file')
            if kind in ("NodeProto", "OperatorSetIdProto", "FunctionProto") and one.domain not in DOMAINS:
                raise InvalidInput(
                    f'The model uses operators of "{one.domain}", which are not ONNX Runtime\'s own, so they are never loaded.'
                )

    def classes(self, native: Any) -> tuple[Any, ...]:
        return _graph(native).classes

    def outputs(self, native: Any) -> tuple[Field, ...]:
        graph = _graph(native)
        return class_outputs(graph.classes, len(graph.session.get_outputs()) > 1)

    def ask(self, native: Any) -> Ask:
        graph = _graph(native)
        session = graph.session
        takes = [(one.name, _array(one)) for one in session.get_inputs()]

        def answer(rows: Any) -> Answers:
            fed = (
                {takes[0][0]: matrix(rows, takes[0][1])}
                if len(takes) == 1
                else {name: column for (name, _), column in zip(takes, _columns(rows, takes), strict=True)}
            )
            return _answers(session.run(None, fed), graph.classes)

        return answer

    def bare(self, native: Any) -> Any | None:
        return native

    def libraries(self) -> tuple[str, ...]:
        return ("onnxruntime", "onnx", "numpy")


def _parsed(data: bytes) -> Any:
    onnx = need("onnx", extra="onnx", purpose="An ONNX model")
    need("google.protobuf.message", extra="onnx", purpose="An ONNX model")
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise crafted(f"{FILE} is no model of ONNX") from error
    if not model.ir_version or not model.graph.node or not model.graph.output:
        raise crafted(f"{FILE} is no model of ONNX")
    return model


def _messages(message: Any) -> Iterator[Any]:
    """A message and all that are in it, graphs of branches and functions too."""
    waiting = [message]
    while waiting:
        one = waiting.pop()
        yield one
        for field, value in one.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def _graph(native: Any) -> Graph:
    return native if isinstance(native, Graph) else OnnxFlavor().load({FILE: native.SerializeToString()})


def _labels(model: Any) -> tuple[Any, ...]:
    """The labels that a classifier's node, or the map after it, names."""
    for node in reversed(model.graph.node):
        for one in node.attribute:
            if one.name in ("classlabels_int64s", "classlabels_ints", "keys_int64s") and len(one.ints) > 1:
                return tuple(one.ints)
            if one.name in ("classlabels_strings", "keys_strings") and len(one.strings) > 1:
                return tuple(label.decode() for label in one.strings)
    return ()


def _array(one: Any) -> Any:
    if one.type not in _ARRAYS:
        raise InvalidInput(f'Input "{one.name}" of the model is a {one.type}; columns can be: {", ".join(_ARRAYS)}.')
    return _ARRAYS[one.type]


def _columns(rows: Any, takes: list[tuple[str, Any]]) -> Iterator[Any]:
    import numpy as np

    names = list(getattr(rows, "columns", range(rows.shape[1])))
    for name, (_, dtype) in zip(names, takes, strict=True):
        column = rows[:, name] if isinstance(rows, np.ndarray) else rows[name].to_numpy()
        yield np.ascontiguousarray(column, dtype=dtype).reshape(-1, 1)


def _answers(found: list[Any], labels: tuple[Any, ...]) -> Answers:
    import numpy as np

    first = np.asarray(found[0])
    if not labels:
        return value_answers(first[:, 0] if first.ndim == 2 and first.shape[1] == 1 else first)
    if len(found) == 1:
        return {"prediction": first.reshape(-1)}
    shares = found[1]
    if isinstance(shares, list):  # a map for each row
        shares = np.array([[row[label] for label in labels] for row in shares])
    shares = np.asarray(shares, dtype=np.float64)
    if shares.ndim == 1 or shares.shape[1] == 1:
        shares = np.column_stack([1 - shares.reshape(-1), shares.reshape(-1)])
    return class_answers(labels, shares, first.reshape(-1))
