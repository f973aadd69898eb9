"""Boosted trees, whichever library grew them: the booster with what it was, and the check of trees that come from a file.

The libraries follow the links of a tree without looking where they lead, so a file's trees are checked before they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from trine.errors import Damaged, InvalidInput
from trine.models.answers import class_answers, value_answers

if TYPE_CHECKING:
    from trine.models.flavors import Answers

KIND = "kind.json"


@dataclass(frozen=True)
class Boosted:
    """A booster, the class it was before it was saved, and the labels of a classifier."""

    booster: Any
    kind: str
    classes: tuple[Any, ...] = ()


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a booster's file does not say of itself."""

    kind: str
    classes: tuple[bool | int | float | str, ...] = ()


def write_kind(one: Boosted) -> bytes:
    return msgspec.json.encode(Kind(one.kind, one.classes))


def read_kind(files: Mapping[str, bytes], kinds: Collection[str]) -> Kind:
    """What a model was. Raises Damaged for anything that is none of the kinds."""
    try:
        found = msgspec.json.decode(files[KIND], type=Kind)
    except (KeyError, msgspec.DecodeError) as error:
        raise Damaged(f"{KIND} of the model cannot be read: {error}.") from None
    if found.kind not in kinds:
        raise InvalidInput(f'{KIND} names "{found.kind}", which is none of {", ".join(kinds)}.')
    return found


def boosted_of(native: Any, booster: Callable[[Any], Any]) -> Boosted:
    """A model as what is kept of it; `booster` gives that of a fitted scikit-learn-like one, or None or an error."""
    if isinstance(native, Boosted):
        return native
    kind = type(native).__name__
    if kind == "Booster":
        return Boosted(native, kind)
    try:
        found = booster(native)
    except Exception as error:  # the library's own NotFittedError, or scikit-learn's
        raise InvalidInput(f"The {kind} is not fitted: call fit() before registering it.") from error
    if callable(native.get_params().get("objective")):
        raise InvalidInput(
            f"The {kind} has an objective of your own, which its file does not keep: register its booster, and turn what it "
            "answers into probabilities yourself."
        )
    return Boosted(found, kind, labels_of(native) if "Classifier" in kind else ())


def is_of(native: Any, library: str, kinds: Collection[str]) -> bool:
    """Whether a model is one of a library's kinds, or what was kept of one."""
    if isinstance(native, Boosted):
        return type(native.booster).__module__.startswith(library)
    return type(native).__module__.startswith(f"{library}.") and type(native).__name__ in kinds


def answers_of(one: Boosted, found: Any) -> Answers:
    """What a booster said of some rows: values, or the chance of each class (of two classes it says that of the second)."""
    import numpy as np

    if not one.classes:
        return value_answers(found)
    return class_answers(one.classes, np.column_stack([1 - found, found]) if found.ndim == 1 else found)


def labels_of(native: Any) -> tuple[Any, ...]:
    """The labels of a fitted classifier as plain values."""
    labels: Any = getattr(native, "classes_", ())
    return tuple(labels.tolist() if hasattr(labels, "tolist") else labels)


def check_links(left: Any, right: Any, nodes: int, leaves: int, where: str) -> None:
    """Raise Damaged unless the links make one tree: `nodes` inner nodes, `leaves` of which ~i is the i-th, the first node on top.

    A node with two parents, or a link that leads outside, could send a prediction anywhere.
    """
    import numpy as np

    links = np.concatenate([np.asarray(left, dtype=np.int64), np.asarray(right, dtype=np.int64)])
    inner, outer = links[links >= 0], ~links[links < 0]
    if len(links) != 2 * nodes or not (
        len(inner) == max(nodes - 1, 0)
        and set(inner.tolist()) == set(range(1, nodes))
        and (not nodes or sorted(outer.tolist()) == list(range(leaves)))
    ):
        raise crafted(f"{where} is no tree")


def crafted(what: str) -> Damaged:
    return Damaged(f"The model file is broken or made to do harm: {what}. Do not use it; register the model anew.")
