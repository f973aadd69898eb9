"""What the demo's year came to: a table by month, the decisions, and one bad answer walked back to its causes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trine.cli.shell import is_json, print_table, show

if TYPE_CHECKING:
    from trine.tracking import RunInfo
    from trine.workspace import Workspace


def report(folder: Path) -> None:
    """Print the whole of it (with --json: the months and the worst answer's way back)."""
    from trine import governance, tracking
    from trine.workspace import connect, using

    os.chdir(folder)  # the ladder looks at the git repository around it
    with connect(folder) as ws, using(ws):
        months = tracking.search('attributes.state = "finished"', experiment="year", ws=ws)
        months = sorted(months, key=lambda run: run.name)
        worst, way = _worst(ws)
        card = folder / "card.md"
        card.write_text(governance.card("delays@production", ws=ws).markdown)
        if is_json():
            found = [
                {"month": run.name, **{key: m.last for key, m in run.metrics.items()}, **run.tags} for run in months
            ]
            show({"folder": str(folder), "months": found, "worst": {"prediction": worst["prediction_id"], "from": way}})
            return
        _print_months(months)
        print(
            f"\nThe worst answer: {worst['probability']:.0%} likely to be late, and it was {_late(worst['label'])}. It came from"
        )
        print("\n".join(f"  {'← ' if index else '  '}{node}" for index, node in enumerate(way)))
        _print_standing(ws)
    print(f"\nModel card  {card}")
    print(f"Look around cd {folder}; trine runs ls; trine models history delays; trine loop cycles delays")
    print(f"Open it     trine ui --workspace {folder}")
    print(f"Clean up    rm -r {folder}")


def _print_months(months: list[RunInfo]) -> None:
    header = [
        "month",
        "asked",
        "late",
        "verdict",
        "moved",
        "AUC frozen",
        "looped",
        "Brier frozen",
        "looped",
        "production",
        "decision",
    ]
    rows: list[list[Any]] = []
    for run in months:
        of = {key: one.last for key, one in run.metrics.items()}
        values = [f"{of[name]:.3f}" for name in ("frozen.auc", "looped.auc", "frozen.brier", "looped.brier")]
        said = run.tags
        verdict = said["verdict"], said.get("moved", "")
        rows.append(
            [
                run.name,
                int(of["asked"]),
                f"{of['late']:.1%}",
                *verdict,
                *values,
                said["version"],
                said.get("outcome", ""),
            ]
        )
    print(
        "\nThe year, month by month: delays@1 left as it was (frozen), beside what the loop kept in production (looped)\n"
    )
    print_table(header, rows)
    print("\nWhy")
    for run in months:
        print(f"  {run.name}  {run.tags['decision']}")


def _worst(ws: Workspace) -> tuple[dict[str, Any], list[str]]:
    """The answer farthest from its label, and the nodes on its way back."""
    import polars as pl

    from trine import serving

    answers = serving.predictions("delays", ws=ws).join(serving.labels("delays", ws=ws), on="prediction_id")
    wrong = (pl.col("label").cast(pl.Float64) - pl.col("probability")).abs()
    worst = answers.sort(wrong, descending=True, maintain_order=True).row(0, named=True)
    way = serving.trace(worst["prediction_id"], ws=ws)
    return worst, [way.prediction.node, way.route, way.model, *way.runs[:1], *way.data[:4], *way.code[:1]]


def _late(label: Any) -> str:
    return "late" if label else "on time"


def _print_standing(ws: Workspace) -> None:
    from trine import insights
    from trine.cli.insights import ladder_text, metrics_text

    print("\nWhere it stands\n")
    print(ladder_text(insights.ladder(ws=ws)))
    print()
    print(metrics_text(insights.metrics(ws=ws)))
