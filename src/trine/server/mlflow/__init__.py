"""The MLflow wire: unchanged MLflow clients on Trine's own runs, experiments, files and models. A translation, never a copy."""

from trine.server.mlflow.application import LOGGING, Mlflow

__all__ = ["LOGGING", "Mlflow"]
