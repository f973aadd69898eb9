"""Flavors: how a kind of model is saved, loaded and asked. Others come in through the entry points `trine.flavors`."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from trine.errors import InvalidInput, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trine.models.signature import Field

Answers = Mapping[str, "NDArray[Any]"]
"""What a model answers, column by column: `prediction`, and `probability` or `probability_<class>` of a classifier."""

Ask = Callable[[Any], Answers]


class Flavor(Protocol):
    """One kind of model.

    `pickles` says that loading may run code which the files bring along: such a version is loaded only when asked to.
    A flavor may also have `forms` (its files and their forms, see `trine.models.forms`), `mlflow_forms` (those beside an
    `MLmodel`, when they are others) and `check(files)`, which raises
    InvalidInput: both are asked when a version is registered, by whoever keeps the registry.
    An entry point of the group `trine.flavors` names an object with these members.
    """

    name: str
    pickles: bool

    def matches(self, native: Any) -> bool:
        """Whether this flavor is the one for a model."""
        ...

    def save(self, native: Any) -> dict[str, bytes]:
        """The model as files by name. Raises InvalidInput when it cannot be saved in this flavor."""
        ...

    def load(self, files: Mapping[str, bytes]) -> Any:
        """The model from its files. Raises Damaged or InvalidInput; must not trust what the files say of themselves."""
        ...

    def classes(self, native: Any) -> tuple[Any, ...]:
        """The labels a classifier tells apart, in the order of its probabilities; nothing for other models."""
        ...

    def outputs(self, native: Any) -> tuple[Field, ...]:
        """The columns it answers; nothing when only asking can tell."""
        ...

    def ask(self, native: Any) -> Ask:
        """The function that answers rows, given as the model was fitted on them."""
        ...

    def bare(self, native: Any) -> Any | None:
        """The model such that plain arrays do for named columns, or None when it has no such form."""
        ...

    def libraries(self) -> tuple[str, ...]:
        """The distributions whose versions are kept with the model."""
        ...


@functools.cache
def flavors() -> dict[str, Flavor]:
    """All flavors by name; Trine's own come first when a model is matched."""
    own = (
        "scikit:ScikitFlavor", "xgboost:XgboostFlavor", "lightgbm:LightgbmFlavor", "torch:TorchFlavor", "onnx:OnnxFlavor",
        "transformers:TransformersFlavor", "source:SourceFlavor", "pickled:PickledFlavor", "foreign:MlflowFlavor",
    )  # fmt: skip
    found: dict[str, Flavor] = {}
    for file, _, kind in (one.partition(":") for one in own):
        flavor = getattr(importlib.import_module(f"trine.models.{file}"), kind)()
        found[flavor.name] = flavor
    for entry in importlib.metadata.entry_points(group="trine.flavors"):
        found.setdefault(entry.name, entry.load())
    return found


def flavor_of(native: Any, name: str, allow_pickle: bool) -> Flavor:
    """The flavor for a model: the one asked for, else the first that matches; pickle only when allowed."""
    known = flavors()
    if name and name not in known:
        raise InvalidInput(f'There is no flavor "{name}".{nearest(name, known)} Flavors: {", ".join(known)}.')
    candidates = [known[name]] if name else [one for one in known.values() if one.matches(native)]
    found = next((one for one in candidates if allow_pickle or not one.pickles), None)
    if found is None:
        raise InvalidInput(
            f"A {type(native).__module__}.{type(native).__qualname__} can only be kept as a pickle, which runs code when it is "
            "loaded. If you trust everybody who may register here: allow_pickle=True."
        )
    return found
