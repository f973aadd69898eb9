"""What a search gives: a list of runs that is also a table, for Polars, pandas, Arrow and a notebook's page."""

from __future__ import annotations

import datetime as dt
import html
from typing import TYPE_CHECKING, Any

from trine.errors import InvalidInput
from trine.tracking.runs import RunInfo

if TYPE_CHECKING:
    import polars as pl


class Runs(list[RunInfo]):
    """Runs in the order of their search. As a table: one row a run, columns id, name, experiment, state, started, ended,
    duration_s, parent, author, then `params.…`, `tags.…` (texts) and `metrics.…` (last values; `part` names another)."""

    def polars(self, *, part: str = "last") -> pl.DataFrame:
        """The table as a Polars frame."""
        import polars as pl

        columns: dict[str, Any] = {
            name: [getattr(one, name) for one in self] for name in ("id", "name", "experiment", "state")
        }
        schema: dict[str, Any] = dict.fromkeys(columns, pl.String)
        for name, values in (
            ("started", [_moment(one.started_us) for one in self]),
            ("ended", [_moment(one.ended_us) for one in self]),
        ):
            columns[name], schema[name] = values, pl.Datetime("us", "UTC")
        columns["duration_s"], schema["duration_s"] = [one.duration_s for one in self], pl.Float64
        for name in ("parent", "author"):
            columns[name], schema[name] = [getattr(one, name) for one in self], pl.String
        for kind in ("params", "tags"):
            for key in sorted({key for one in self for key in getattr(one, kind)}):
                columns[f"{kind}.{key}"] = [getattr(one, kind).get(key) for one in self]
                schema[f"{kind}.{key}"] = pl.String
        for key in sorted({key for one in self for key in one.metrics}):
            columns[f"metrics.{key}"] = [_part(one, key, part) for one in self]
            schema[f"metrics.{key}"] = pl.Float64
        return pl.DataFrame(columns, schema=schema)

    def pandas(self, *, part: str = "last") -> Any:
        """The table as a pandas frame (pandas has to be installed)."""
        try:
            import pandas as pd  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InvalidInput("This needs pandas: pip install pandas") from None
        frame = self.polars(part=part)
        return pd.DataFrame({name: frame[name].to_list() for name in frame.columns})

    def arrow(self, *, part: str = "last") -> Any:
        """The table as a pyarrow one (pyarrow has to be installed; what reads Arrow streams takes the Polars frame as it is)."""
        try:
            import pyarrow as pa  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InvalidInput("This needs pyarrow: pip install pyarrow") from None
        return pa.table(self.polars(part=part))

    def _repr_html_(self) -> str:
        """A notebook's table: what differs between the runs, at most fifty of them."""
        shown = self[:50]
        params = sorted({key for one in shown for key in one.params})
        varying = [key for key in params if len({one.params.get(key) for one in shown}) > 1][:8]
        metrics = sorted({key for one in shown for key in one.metrics})[:8]
        header = ["name", "state", "started (UTC)", *varying, *metrics]
        rows: list[list[str]] = []
        for one in shown:
            started = (_moment(one.started_us) or dt.datetime.min).strftime("%Y-%m-%d %H:%M:%S")
            cells = [one.name, one.state, started, *(one.params.get(key, "") for key in varying)]
            rows.append([*cells, *(f"{one.metrics[key].last:.6g}" if key in one.metrics else "" for key in metrics)])
        more = f"<p>… {len(self) - len(shown):,} more</p>" if len(self) > len(shown) else ""
        return table_html(header, rows) + more if self else "<p>No runs.</p>"


def _moment(us: int | None) -> dt.datetime | None:
    return None if us is None else dt.datetime.fromtimestamp(us / 1e6, dt.UTC)


def _part(one: RunInfo, key: str, part: str) -> float | None:
    summary = one.metrics.get(key)
    try:
        return None if summary is None else float(getattr(summary, part))
    except AttributeError:
        raise InvalidInput(
            f'A metric has no "{part}": there is last, first, min, max, best, count.', argument="part"
        ) from None


def table_html(header: list[str], rows: list[list[str]]) -> str:
    """A plain table, every cell escaped."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def run_html(one: RunInfo) -> str:
    """A run for a notebook: what it is, its params and its metrics."""
    started = (_moment(one.started_us) or dt.datetime.min).strftime("%Y-%m-%d %H:%M:%S")
    took = "" if one.duration_s is None else f", took {one.duration_s:,.1f} s"
    head = f"{one.experiment} · {one.state}{f' ({one.reason})' if one.reason else ''} · {started} UTC{took}"
    params = table_html(["param", "value"], [[key, value[:200]] for key, value in one.params.items()])
    rows = [[key, f"{m.last:.6g}", f"{m.best:.6g}", f"{m.count:,}"] for key, m in one.metrics.items()]
    metrics = table_html(["metric", "last", "best", "points"], rows)
    lossy = f"<p>{one.lost:,} points were lost.</p>" if one.is_lossy else ""
    title = f"<p><b>{html.escape(one.name)}</b> <code>{one.id}</code><br>{html.escape(head)}</p>"
    return title + lossy + (params if one.params else "") + (metrics if rows else "")
