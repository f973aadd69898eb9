"""Experiments and runs: params, tags, metrics, artifacts, and what each run ran on.

with trine.run("churn", params={"depth": 6}) as run:
    run.log("loss", 0.31)

search("metrics.loss.best < 0.4 and params.depth > 4", order_by="metrics.loss.best")
history(run, "loss")
"""

from trine import lazy

lazy.names(__name__)
