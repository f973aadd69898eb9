"""Callbacks of libraries too large to install here are called as those document it, through stand-ins of their classes."""

from __future__ import annotations

import math
import sys
import types
from typing import Any

import pytest

import trine
from trine import tracking
from trine.errors import InvalidInput
from trine.workspace import Workspace


class Namespace(types.SimpleNamespace):
    pass


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    made = types.ModuleType(name)
    made.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, made)


def test_a_callback_needs_a_run_and_its_library(local_ws: Workspace) -> None:
    with pytest.raises(InvalidInput, match="no active run"):
        tracking.lightgbm_callback()
    with trine.run(), pytest.raises(InvalidInput, match=r"pip install 'trine\[transformers\]'"):
        tracking.transformers_callback()


def test_callbacks_of_boosters_write_into_the_active_run(local_ws: Workspace) -> None:
    import lightgbm
    import numpy as np
    import xgboost

    X, Y = np.arange(40.0).reshape(20, 2), np.arange(20.0)
    with trine.run() as run:
        train = xgboost.DMatrix(X, label=Y)
        callback = tracking.xgboost_callback()
        xgboost.train({}, train, 3, evals=[(train, "train")], verbose_eval=False, callbacks=[callback])
        data = lightgbm.Dataset(X, Y)
        lightgbm.train(
            {"verbose": -1, "metric": "l2"}, data, 2, valid_sets=[data], valid_names=["v"],
            callbacks=[tracking.lightgbm_callback()],
        )  # fmt: skip
    counts = {key: one.count for key, one in tracking.get_run(run).metrics.items()}
    assert counts == {"train/rmse": 3, "v/l2": 2}


def test_transformers(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    module(monkeypatch, "transformers", TrainerCallback=type("TrainerCallback", (), {}))
    arguments = Namespace(to_sanitized_dict=lambda: {"learning_rate": 5e-5, "num_train_epochs": 3})
    first, other = (Namespace(is_world_process_zero=zero, global_step=10) for zero in (True, False))
    with trine.run(params={"num_train_epochs": "1"}) as run:
        callback = tracking.transformers_callback()
        for state in (first, other):
            callback.on_train_begin(arguments, state, None, model=Namespace())
            callback.on_log(arguments, state, None, logs={"loss": 0.5, "epoch": 1.0, "note": "text"})
        callback.on_log(Namespace(), Namespace(is_world_process_zero=True, global_step="x"), None, logs={"loss": 1})
    info = tracking.get_run(run)
    assert info.params == {"num_train_epochs": "1", "learning_rate": "5e-05"}  # what is there stays
    assert {key: (one.last, one.last_step, one.count) for key, one in info.metrics.items()} == {
        "loss": (0.5, 10, 1), "epoch": (1.0, 10, 1),
    }  # fmt: skip
    assert info.tags["model_class"].endswith("Namespace") and "training goes on" in caplog.text


def test_keras(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Callback:
        def __init__(self) -> None:
            self.params: dict[str, Any] = {}

    module(monkeypatch, "keras", callbacks=Namespace(Callback=Callback))
    with trine.run() as run:
        callback = tracking.keras_callback(every_batches=2)
        callback.params = {"epochs": 2, "steps": 3}
        callback.on_train_begin()
        for epoch in range(2):
            for batch in range(3):
                callback.on_train_batch_end(batch, {"loss": 1 / (1 + batch)})
            callback.on_epoch_end(epoch, {"loss": 0.5 - epoch / 10, "val_loss": 0.7})
    info = tracking.get_run(run)
    assert info.params == {"epochs": "2", "steps": "3"}
    assert (info.metrics["loss"].count, info.metrics["loss"].last_step, info.metrics["batch/loss"].count) == (2, 1, 3)


def test_lightning(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Logger:
        pass

    def rank_zero_only(function: Any) -> Any:
        return lambda *a, **k: function(*a, **k)

    monkeypatch.setattr("trine.tracking.callbacks._is_there", lambda name: name == "lightning")
    for name in ("lightning", "lightning.pytorch", "lightning.pytorch.loggers"):
        module(monkeypatch, name)
    module(monkeypatch, "lightning.pytorch.loggers.logger", Logger=Logger)
    module(monkeypatch, "lightning.pytorch.utilities", rank_zero_only=rank_zero_only)
    with trine.run("digits") as run:
        logger = tracking.lightning_logger()
        assert isinstance(logger, Logger) and (logger.name, logger.version) == ("digits", run.id)
        assert logger.experiment is run
        logger.log_hyperparams({"lr": 0.1, "net": {"layers": 3}})
        logger.log_hyperparams(Namespace(seed=1))
        logger.log_metrics({"loss": 0.5, "when": "now"}, 7)
        logger.finalize("success")
    info = tracking.get_run(run)
    assert info.params == {"lr": "0.1", "net.layers": "3", "seed": "1"} and info.metrics["loss"].last_step == 7
    assert info.tags == {"lightning.status": "success"}


class Tensor:
    """As a tensor: lives on a device, is asked for its number as seldom as can be."""

    asked = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def detach(self) -> Tensor:
        return Tensor(self.value)

    def __add__(self, other: Tensor) -> Tensor:
        return Tensor(self.value + other.value)

    def item(self) -> float:
        Tensor.asked += 1
        return self.value


def test_a_plain_loop_counts_and_logs_means(ws: Workspace) -> None:
    optimizer = Namespace(param_groups=[{"lr": 0.1}, {"lr": 0.01}])
    Tensor.asked = 0
    with trine.run() as run:
        loop = tracking.TrainingLoop(optimizer=optimizer, every=2)
        for batch in loop.batches([1.0, 2.0, 3.0], epochs=2):
            loop.log(loss=Tensor(batch), plain=batch)
        loop.log(accuracy=0.9)
    assert Tensor.asked == 3 and (loop.step, loop.epoch) == (6, 2)
    info = tracking.get_run(run)
    assert tracking.history(run, "loss")["value"].to_list() == [1.5, 2.0, 2.5]
    assert tracking.history(run, "plain")["step"].to_list() == [2, 4, 6]
    assert (info.metrics["learning_rate/1"].last, info.metrics["epoch"].last) == (0.01, 1.0)
    assert (info.metrics["accuracy"].last_step, info.metrics["accuracy"].last) == (6, 0.9)
    assert math.isfinite(info.metrics["batches_per_second"].last)
    with pytest.raises(InvalidInput, match="no active run"):
        tracking.TrainingLoop()
    with trine.run(), pytest.raises(InvalidInput, match="every"):
        tracking.TrainingLoop(every=0)
