"""Pipelines: steps that are plain typed functions, run as a DAG that survives kill -9 and does nothing twice.

@step
def train(rows: pl.DataFrame, depth: int) -> str: ...

@pipeline
def churn(month: str, depth: int = 3) -> str:
    return train(prepare(month), depth)

churn("2026-01")              # a plain call
churn.run(month="2026-01")    # a durable run: parallel, cached, resumable
"""

from trine import lazy

lazy.names(__name__)
