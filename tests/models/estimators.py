"""Rows and models that the tests of this room share, and classes that only a pickle can keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def rows(count: int = 200, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "distance": draw.normal(1000, 300, count),
            "hour": draw.integers(0, 24, count),
            "carrier": draw.choice(["UA", "B6", "DL"], count),
            "holiday": draw.random(count) < 0.1,
        }
    )


def labels(frame: pl.DataFrame, seed: int = 0) -> Any:
    noise = np.random.default_rng(seed).normal(0, 4, frame.height)
    return frame["hour"].to_numpy() + noise > 12


def numbers(count: int = 200, seed: int = 0) -> pl.DataFrame:
    return rows(count, seed).drop("carrier")


def pipeline() -> Any:
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
        (StandardScaler(), ["distance", "hour"]),
        remainder="passthrough",
    )
    return make_pipeline(encode, LogisticRegression())


class Halve(TransformerMixin, BaseEstimator):
    """A transformer that is not scikit-learn's own."""

    def fit(self, X: Any, y: Any = None) -> Halve:
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> Any:
        return np.asarray(X) / 2


class Threshold:
    """A model of one's own: not scikit-learn's in any part."""

    def __init__(self, at: int) -> None:
        self.at = at

    def predict(self, frame: pl.DataFrame) -> Any:
        return frame["hour"].to_numpy() > self.at


def by_hour(frame: pl.DataFrame) -> Any:
    return {"prediction": frame["hour"].to_numpy() * 2.0, "because": frame["carrier"].to_numpy()}


def by_threshold(rows: pl.DataFrame) -> Any:
    return Threshold(3).predict(rows)
