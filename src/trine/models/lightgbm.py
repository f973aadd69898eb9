"""The `lightgbm` flavor: boosters and scikit-learn-like models in LightGBM's own text, its trees checked before they are used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trine.errors import InvalidInput
from trine.extras import need
from trine.models.answers import class_outputs, matrix
from trine.models.boosted import (
    KIND,
    Boosted,
    answers_of,
    boosted_of,
    check_links,
    crafted,
    is_of,
    read_kind,
    write_kind,
)

if TYPE_CHECKING:
    from trine.models.flavors import Answers, Ask
    from trine.models.signature import Field

FILE = "model.txt"
KINDS = ("Booster", "LGBMClassifier", "LGBMRegressor", "LGBMRanker")


class LightgbmFlavor:
    """What is loaded is `Boosted`: its `.booster` is the lightgbm.Booster."""

    name = "lightgbm"
    pickles = False
    forms: Mapping[str, str] = {FILE: "text", KIND: "json"}

    def matches(self, native: Any) -> bool:
        return is_of(native, self.name, KINDS)

    def save(self, native: Any) -> dict[str, bytes]:
        one = _boosted(native)
        return {FILE: one.booster.model_to_string().encode(), KIND: write_kind(one)}

    def load(self, files: Mapping[str, bytes]) -> Boosted:
        lightgbm = need("lightgbm", extra="lightgbm", purpose="A LightGBM model")
        self.check(files)
        kind = read_kind(files, KINDS)
        try:
            return Boosted(lightgbm.Booster(model_str=files[FILE].decode()), kind.kind, kind.classes)
        except lightgbm.basic.LightGBMError as error:
            raise InvalidInput(f"The model file cannot be read by this LightGBM: {error}") from error

    def check(self, files: Mapping[str, bytes]) -> None:
        read_kind(files, KINDS)
        try:
            _check_text(files[FILE].decode())
        except (KeyError, ValueError, IndexError, OverflowError) as error:
            raise crafted(f"{FILE} is no model of LightGBM ({type(error).__name__}: {error})") from error

    def classes(self, native: Any) -> tuple[Any, ...]:
        return _boosted(native).classes

    def outputs(self, native: Any) -> tuple[Field, ...]:
        return class_outputs(self.classes(native), True)

    def ask(self, native: Any) -> Ask:
        import numpy as np

        one = _boosted(native)

        def answer(rows: Any) -> Answers:
            found = one.booster.predict(matrix(rows, np.float64), num_threads=1 if len(rows) <= 256 else 0)
            return answers_of(one, found)

        return answer

    def bare(self, native: Any) -> Any | None:
        return native

    def libraries(self) -> tuple[str, ...]:
        return ("lightgbm", "numpy")


def _boosted(native: Any) -> Boosted:
    return boosted_of(native, lambda fitted: fitted.booster_)


def _check_text(text: str) -> None:
    if not text.startswith("tree\n"):
        raise crafted(f"{FILE} does not begin as a model of LightGBM does")
    head, _, rest = text.partition("\nTree=0\n")
    facts = dict(_facts(head))
    sizes = [int(one) for one in facts["tree_sizes"].split()]
    starts = [found.start() for found in re.finditer(r"^Tree=\d+$", text, re.MULTILINE)]
    _check_sizes(text.encode(), sizes, len(starts))
    features = int(facts["max_feature_idx"]) + 1
    if len(facts["feature_names"].split(" ")) != features or len(facts["feature_infos"].split(" ")) != features:
        raise crafted("it does not name the columns that it counts")
    if starts and len(starts) % int(facts["num_tree_per_iteration"]):
        raise crafted("its rounds do not fit its trees")
    body = rest.partition("\nend of trees")[0]
    for number, part in enumerate(re.split(r"^Tree=\d+$", body, flags=re.MULTILINE) if starts else []):
        _check_tree(dict(_facts(part)), features, f"tree {number}")


def _facts(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name, value


def _check_sizes(data: bytes, sizes: list[int], trees: int) -> None:
    """LightGBM cuts the file at these places without a look."""
    place = data.find(b"\nTree=0\n") + 1
    for number, size in enumerate(sizes):
        if size <= 0 or not data.startswith(b"Tree=%d\n" % number, place):
            raise crafted("its trees are not where it says")
        place += size
    if len(sizes) != trees or place > len(data):
        raise crafted("its trees are not where it says")


def _check_tree(tree: dict[str, str], features: int, where: str) -> None:
    def numbers(name: str) -> list[int]:
        return [int(one) for one in tree.get(name, "").split()]

    leaves = int(tree["num_leaves"])
    nodes = leaves - 1
    if nodes < 0 or len(tree["leaf_value"].split()) != leaves or int(tree.get("is_linear", 0)):
        raise crafted(f"{where} has not the leaves it counts, or is a linear one, which this Trine does not check")
    if not nodes:
        return
    check_links(numbers("left_child"), numbers("right_child"), nodes, leaves, where)
    columns, kinds = numbers("split_feature"), numbers("decision_type")
    limits = tree["threshold"].split()
    if not len(columns) == len(kinds) == len(limits) == nodes or any(not 0 <= one < features for one in columns):
        raise crafted(f"{where} asks for a column that is not there")
    bounds, held = numbers("cat_boundaries"), len(numbers("cat_threshold"))
    count = int(tree["num_cat"])
    if count and (len(bounds) != count + 1 or sorted(bounds) != bounds or bounds[0] != 0 or bounds[-1] > held):
        raise crafted(f"{where} asks for categories that are not there")
    if any(kind & 1 and not 0 <= float(limit) < count for kind, limit in zip(kinds, limits, strict=True)):
        raise crafted(f"{where} asks for categories that are not there")
