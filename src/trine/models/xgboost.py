"""The `xgboost` flavor: boosters and scikit-learn-like models in XGBoost's own JSON, its trees checked before they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trine.errors import InvalidInput
from trine.extras import need
from trine.models.answers import class_outputs, matrix
from trine.models.boosted import KIND, Boosted, answers_of, boosted_of, crafted, is_of, read_kind, write_kind
from trine.models.mlmodel import FILE as MLMODEL
from trine.models.mlmodel import read_mlmodel, xgboost_file

if TYPE_CHECKING:
    from trine.models.flavors import Answers, Ask
    from trine.models.signature import Field

FILE = "model.json"
KINDS = ("Booster", "XGBClassifier", "XGBRFClassifier", "XGBRegressor", "XGBRFRegressor", "XGBRanker")


class XgboostFlavor:
    """What is loaded is `Boosted`: its `.booster` is the xgboost.Booster."""

    name = "xgboost"
    pickles = False
    forms: Mapping[str, str] = {FILE: "json", KIND: "json"}
    mlflow_forms: Mapping[str, str] = {"*.ubj": "any", "*.json": "json"}

    def matches(self, native: Any) -> bool:
        return is_of(native, self.name, KINDS)

    def save(self, native: Any) -> dict[str, bytes]:
        one = _boosted(native)
        files = {FILE: bytes(one.booster.save_raw("json")), KIND: write_kind(one)}
        self.check(files)
        return files

    def load(self, files: Mapping[str, bytes]) -> Boosted:
        xgboost = need("xgboost", extra="xgboost", purpose="An XGBoost model")
        self.check(files)
        try:
            if KIND not in files:
                return _of_mlflow(files, xgboost)
            kind = read_kind(files, KINDS)
            return Boosted(xgboost.Booster(model_file=bytearray(files[FILE])), kind.kind, kind.classes)
        except xgboost.core.XGBoostError as error:
            raise InvalidInput(
                f"The model file cannot be read by this XGBoost: {str(error).splitlines()[0]}"
            ) from error

    def check(self, files: Mapping[str, bytes]) -> None:
        if KIND not in files and MLMODEL in files:  # its trees are looked at when they are loaded: that takes XGBoost
            xgboost_file(read_mlmodel(files[MLMODEL]), KINDS)
            return
        read_kind(files, KINDS)
        _checked(files[FILE])

    def classes(self, native: Any) -> tuple[Any, ...]:
        return _boosted(native).classes

    def outputs(self, native: Any) -> tuple[Field, ...]:
        return class_outputs(self.classes(native), True)

    def ask(self, native: Any) -> Ask:
        import numpy as np

        one = _boosted(native)
        best = one.booster.attr("best_iteration") if one.kind != "Booster" else None
        trees = (0, int(best) + 1) if best else (0, 0)
        missing = float("nan")

        def answer(rows: Any) -> Answers:
            found = one.booster.inplace_predict(
                matrix(rows, np.float32), iteration_range=trees, missing=missing, validate_features=False
            ).astype(np.float64)
            return answers_of(one, found)

        return answer

    def bare(self, native: Any) -> Any | None:
        return native

    def libraries(self) -> tuple[str, ...]:
        return ("xgboost", "xgboost-cpu", "numpy")


def _of_mlflow(files: Mapping[str, bytes], xgboost: Any) -> Boosted:
    """What `mlflow.xgboost` saved: a booster in XGBoost's own form, of a class that the `MLmodel` names."""
    file, kind = xgboost_file(read_mlmodel(files[MLMODEL]), KINDS)
    if file not in files:
        raise InvalidInput(f'The MLmodel names "{file}", which is not among the files of the model.')
    booster = xgboost.Booster(model_file=bytearray(files[file]))
    param = _checked(bytes(booster.save_raw("json")))
    return Boosted(booster, kind, tuple(range(max(int(param["num_class"]), 2))) if "Classifier" in kind else ())


def _checked(model: bytes) -> Any:
    """What a model in JSON says of its columns and classes. Raises Damaged unless its trees are trees."""
    try:
        learner = msgspec.json.decode(model)["learner"]
        _check_booster(learner["gradient_booster"], int(learner["learner_model_param"]["num_feature"]))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise crafted(f"{FILE} is no model of XGBoost ({type(error).__name__}: {error})") from error
    return learner["learner_model_param"]


def _boosted(native: Any) -> Boosted:
    return boosted_of(native, lambda fitted: fitted.get_booster())


def _check_booster(found: Any, features: int) -> None:
    kind = found["name"]
    if kind not in ("gbtree", "dart"):
        raise InvalidInput(f'The booster is "{kind}"; models are kept of trees only: gbtree and dart.')
    model = (found["gbtree"] if kind == "dart" else found)["model"]
    trees = model["trees"]
    groups = model["tree_info"]
    if len(groups) != len(trees) or any(not 0 <= one < 1_000_000 for one in groups):
        raise crafted("its trees are not those it counts")
    if kind == "dart" and len(found["weight_drop"]) != len(trees):
        raise crafted("its trees are not those it weighs")
    bounds = model.get("iteration_indptr", [0])
    if sorted(bounds) != list(bounds) or not 0 <= bounds[0] <= bounds[-1] <= len(trees):
        raise crafted("its rounds do not fit its trees")
    for number, tree in enumerate(trees):
        _check_tree(tree, features, f"tree {number}")


def _check_tree(tree: Any, features: int, where: str) -> None:
    left, right = tree["left_children"], tree["right_children"]
    count = len(left)
    if not count == len(right) == int(tree["tree_param"]["num_nodes"]):
        raise crafted(f"{where} has not the nodes it counts")
    for name in ("split_indices", "split_conditions", "default_left", "split_type", "sum_hessian", "loss_changes"):
        if len(tree[name]) != count:
            raise crafted(f"{where} has not the nodes it counts")
    inner = [index for index in range(count) if left[index] != -1]
    links = [link for index in inner for link in (left[index], right[index])]
    if any(right[index] != -1 for index in range(count) if left[index] == -1) or any(
        not 0 < link < count for link in links
    ):
        raise crafted(f"{where} points outside itself")
    if len(set(links)) != len(links):
        raise crafted(f"{where} is no tree")
    if any(not 0 <= tree["split_indices"][index] < features for index in inner):
        raise crafted(f"{where} asks for a column that is not there")
    sizes, starts = tree.get("categories_sizes", []), tree.get("categories_segments", [])
    held, nodes = len(tree.get("categories", [])), tree.get("categories_nodes", [])
    if not len(sizes) == len(starts) == len(nodes) or any(
        not (start >= 0 and size >= 0 and start + size <= held) for start, size in zip(starts, sizes, strict=True)
    ):
        raise crafted(f"{where} asks for categories that are not there")
