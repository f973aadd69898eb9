"""Callbacks: what training libraries call while they train, written into the active run (or one that is given).

    xgboost.train(params, data, evals=[(test, "test")], callbacks=[xgboost_callback()])
    lightgbm.train(params, data, valid_sets=[test], callbacks=[lightgbm_callback()])
    Trainer(…, callbacks=[transformers_callback()])
    model.fit(…, callbacks=[keras_callback()])

The libraries are imported when a callback is made. A mistake of the logging is a warning and never stops the training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from trine.errors import InvalidInput
from trine.extras import need
from trine.tracking.fitting import as_text, quietly
from trine.tracking.live import Run, active_run


class Writes(Protocol):
    """What a callback writes to: a run, or a training that is logged by itself."""

    def log(self, key: Any, /, *, step: int | None = None) -> None: ...


def _target(given: Any) -> Any:
    if given is not None:
        return given
    found = active_run()
    if found is None:
        raise InvalidInput(
            "There is no active run. Train inside `with trine.run(…):`, or pass the run to the callback."
        )
    return found


def xgboost_callback(run: Writes | None = None) -> Any:
    """An `xgboost.callback.TrainingCallback`: each metric of each data set at each round, as `test/auc`."""
    target = _target(run)
    callback = need("xgboost.callback", extra="xgboost", purpose="The callback of XGBoost")

    class Callback(callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, list[Any]]]) -> bool:
            quietly(self._write, epoch, evals_log)
            return False

        def _write(self, epoch: int, evals_log: Mapping[str, Mapping[str, list[Any]]]) -> None:
            values = {
                f"{data}/{metric}": float(line[-1][0] if isinstance(line[-1], tuple) else line[-1])
                for data, metrics in evals_log.items()
                for metric, line in metrics.items()
            }
            if values:
                target.log(values, step=epoch)

    return Callback()


def lightgbm_callback(run: Writes | None = None) -> Callable[[Any], None]:
    """A callback of LightGBM: each metric of each data set at each round, as `valid_0/auc`."""
    target = _target(run)

    def write(environment: Any) -> None:
        values = {
            f"{data}/{metric}": float(value) for data, metric, value, *_ in environment.evaluation_result_list or ()
        }
        if values:
            target.log(values, step=environment.iteration)

    def callback(environment: Any) -> None:
        quietly(write, environment)

    return callback


def transformers_callback(run: Run | None = None) -> Any:
    """A `transformers.TrainerCallback`: the arguments as params, and what the trainer logs, at its global step.

    Only the process with rank zero writes.
    """
    target = _target(run)
    transformers = need("transformers", extra="transformers", purpose="The callback of transformers")

    class Callback(transformers.TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.is_world_process_zero:
                quietly(self._describe, args, more.get("model"))

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
            if state.is_world_process_zero:
                quietly(_write_numbers, target, logs or {}, state.global_step)

        def _describe(self, args: Any, model: Any) -> None:
            values = args.to_sanitized_dict() if hasattr(args, "to_sanitized_dict") else args.to_dict()
            _write_params(target, values)
            if model is not None:
                target.tags({"model_class": f"{type(model).__module__}.{type(model).__qualname__}"})

    return Callback()


def keras_callback(run: Run | None = None, *, every_batches: int = 0) -> Any:
    """A `keras.callbacks.Callback`: the logs of each epoch; with `every_batches`, also those of every so many batches."""
    target = _target(run)
    keras = need("keras", extra="keras", purpose="The callback of Keras")

    class Callback(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self._batches = 0

        def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
            quietly(_write_params, target, dict(getattr(self, "params", None) or {}))

        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            self._batches += 1
            if every_batches and self._batches % every_batches == 0:
                batch_logs = {f"batch/{name}": value for name, value in (logs or {}).items()}
                quietly(_write_numbers, target, batch_logs, self._batches)

        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            quietly(_write_numbers, target, logs or {}, epoch)

    return Callback()


def lightning_logger(run: Run | None = None) -> Any:
    """A logger for Lightning's `Trainer(logger=…)`: hyperparameters become params, what modules log becomes metrics.

    Only the process with rank zero writes. The run is yours: it ends with its block.
    """
    target = _target(run)
    package = "lightning.pytorch" if _is_there("lightning") else "pytorch_lightning"
    logger = need(f"{package}.loggers.logger", extra="lightning", purpose="The logger of Lightning")
    only_first = need(f"{package}.utilities", extra="lightning", purpose="The logger of Lightning").rank_zero_only

    class Logger(logger.Logger):
        @property
        def name(self) -> str:
            return target.experiment

        @property
        def version(self) -> str:
            return target.id

        @property
        def experiment(self) -> Run:
            return target

        @only_first
        def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
            quietly(_write_params, target, _flat(params if isinstance(params, Mapping) else vars(params)))

        @only_first
        def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
            quietly(_write_numbers, target, metrics, step)

        @only_first
        def finalize(self, status: str) -> None:
            quietly(target.tags, {"lightning.status": status})

    return Logger()


def _is_there(module: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module without a spec
        return True


def _write_params(target: Run, values: Mapping[str, Any]) -> None:
    """Params that are not there yet: a trainer that goes on says them again, with other values perhaps."""
    from trine.tracking.reading import get_run

    known = get_run(target, ws=target.ws).params
    target.params({str(name)[:250]: as_text(value) for name, value in values.items() if str(name)[:250] not in known})


def _write_numbers(target: Writes, values: Mapping[str, Any], step: int | None) -> None:
    """What is a number of the logs; other things are left out."""
    numbers: dict[str, float] = {}
    for name, value in values.items():
        try:
            numbers[str(name)[:250]] = float(value)
        except (TypeError, ValueError):
            continue
    if numbers:
        target.log(numbers, step=step)


def _flat(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            found[f"{prefix}{name}"] = value
    return found
