"""The `torch` flavor: networks of PyTorch's own layers, as a description and safetensors. No code and no pickle is kept.

A layer is described by the arguments it was made with, which PyTorch's layers keep as attributes. A network with a forward of its own
cannot be told that way: export it to ONNX (`torch.onnx.export`) and register that.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trine.errors import InvalidInput
from trine.extras import need
from trine.models.answers import matrix, value_answers
from trine.models.boosted import crafted

if TYPE_CHECKING:
    from trine.models.flavors import Answers, Ask
    from trine.models.signature import Field

STATE, LAYERS = "state.safetensors", "layers.json"

ALLOWED = frozenset(
    """
    AdaptiveAvgPool1d AdaptiveMaxPool1d AvgPool1d BatchNorm1d Bilinear CELU Conv1d Dropout ELU Embedding Flatten
    GELU GLU GroupNorm Hardsigmoid Hardswish Hardtanh Identity LayerNorm LeakyReLU Linear LogSigmoid LogSoftmax
    MaxPool1d Mish PReLU ReLU ReLU6 SELU Sequential SiLU Sigmoid Softmax Softplus Softsign Tanh Threshold Unflatten
    """.split()  # noqa: SIM905
)
"""Layers of torch.nn that a file may name. They compute, and do nothing else."""


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer: its class in torch.nn, the arguments it is made with, and what is in it."""

    kind: str
    arguments: dict[str, bool | int | float | str | list[int] | None] = {}
    inner: tuple[tuple[str, Layer], ...] = ()


class TorchFlavor:
    """It is given one float32 matrix, a row for a row, and answers a value or a row of values each, in evaluation mode."""

    name = "torch"
    pickles = False
    forms: Mapping[str, str] = {STATE: "safetensors", LAYERS: "json"}

    def matches(self, native: Any) -> bool:
        return any(one.__module__ == "torch.nn.modules.module" for one in type(native).__mro__)

    def save(self, native: Any) -> dict[str, bytes]:
        tensors = need("safetensors.torch", extra="torch", purpose="A PyTorch model")
        layers = msgspec.json.encode(_describe(native))
        state = {name: value.detach().cpu().contiguous() for name, value in native.state_dict().items()}
        return {LAYERS: layers, STATE: tensors.save(state)}

    def load(self, files: Mapping[str, bytes]) -> Any:
        torch = need("torch", extra="torch", purpose="A PyTorch model")
        tensors = need("safetensors.torch", extra="torch", purpose="A PyTorch model")
        self.check(files)
        network = _build(torch.nn, msgspec.json.decode(files[LAYERS], type=Layer))
        try:
            network.load_state_dict(tensors.load(files[STATE]), strict=True)
        except RuntimeError as error:
            raise crafted(f"its numbers do not fit its layers ({str(error).splitlines()[0]})") from error
        return network.eval()

    def check(self, files: Mapping[str, bytes]) -> None:
        try:
            waiting = [msgspec.json.decode(files[LAYERS], type=Layer)]
        except msgspec.DecodeError as error:
            raise crafted(f"{LAYERS} describes no network ({error})") from None
        while waiting:
            one = waiting.pop()
            if one.kind not in ALLOWED or (one.inner and one.kind != "Sequential"):
                raise InvalidInput(f'{LAYERS} names "{one.kind}", which is not among the layers that are safe to load.')
            waiting.extend(layer for _, layer in one.inner)

    def classes(self, native: Any) -> tuple[Any, ...]:
        return ()

    def outputs(self, native: Any) -> tuple[Field, ...]:
        return ()

    def ask(self, native: Any) -> Ask:
        import numpy as np
        import torch  # pyright: ignore[reportMissingImports]

        native.eval()

        def answer(rows: Any) -> Answers:
            with torch.inference_mode():
                found = native(torch.from_numpy(matrix(rows, np.float32))).cpu().numpy()
            return value_answers(found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found)

        return answer

    def bare(self, native: Any) -> Any | None:
        return native

    def libraries(self) -> tuple[str, ...]:
        return ("torch", "safetensors", "numpy")


def _describe(module: Any) -> Layer:
    kind = type(module).__name__
    if kind not in ALLOWED or not type(module).__module__.startswith("torch.nn.modules."):
        raise InvalidInput(
            f"The network holds a {type(module).__module__}.{kind}, which is none of PyTorch's own layers, so it would need its code. "
            "Export it with torch.onnx.export and register the ONNX model."
        )
    if kind == "Sequential":
        return Layer(kind, inner=tuple((name, _describe(one)) for name, one in module.named_children()))
    arguments: dict[str, Any] = {}
    for name, one in inspect.signature(type(module).__init__).parameters.items():
        if name in ("self", "device", "dtype", "_weight", "_freeze", "inplace") or one.kind is one.VAR_KEYWORD:
            continue
        value = getattr(module, name, one.default)
        if name == "bias":
            value = value is not None and value is not False
        elif name == "num_parameters":
            value = module.weight.numel()
        arguments[name] = list(value) if isinstance(value, tuple) else value
    return Layer(kind, arguments)


def _build(nn: Any, layer: Layer) -> Any:
    if layer.kind == "Sequential":
        network = nn.Sequential()
        for name, one in layer.inner:
            network.add_module(name, _build(nn, one))
        return network
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in layer.arguments.items()}
    try:
        return getattr(nn, layer.kind)(**arguments)
    except (TypeError, ValueError) as error:
        raise crafted(f"a {layer.kind} is described in a way that cannot be ({error})") from error
