"""Monitors over predictions and datasets: drift, quality, performance, alerts.

create_monitor(ws, name="flights", subject="dataset:flights@main", reference="dataset:flights@january", time_column="at")
verdict = check("flights", since_us, until_us)
verdict.outcome, verdict.moved
"""

from trine import lazy

lazy.names(__name__)
