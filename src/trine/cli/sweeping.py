"""`trine sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trine.cli.shell import argument, command, echo, is_json, option, show, single

if TYPE_CHECKING:
    from trine.workspace import Workspace


@single("sweep")
@argument("file", type=click.Path(path_type=Path))
@option("--trials", "-n", type=int, help="Trials in all; default: what the file says.")
@option("--workers", "-j", type=int, help="Programs at once; default: what the file says.")
@command(example="trine sweep sweep.yaml\ntrine sweep sweep.yaml -n 100 -j 4")
def sweep(ws: Workspace, file: Path, trials: int | None, workers: int | None) -> None:
    """Run a program many times with values that a sampler suggests, as FILE says; each trial is a child run.

    Called again, it goes on until there are as many trials as asked for. Needs: pip install 'trine[sweep]'
    """
    import msgspec

    from trine.tracking import sweeps

    found = sweeps.read_sweep(file)
    changes = {name: value for name, value in (("trials", trials), ("workers", workers)) if value is not None}
    found = msgspec.convert(msgspec.to_builtins(found) | changes, sweeps.Sweep)
    aside = is_json()  # asked here: the trials are told of by other threads
    done = sweeps.run_sweep(found, folder=file.resolve().parent, tell=lambda line: click.echo(line, err=aside), ws=ws)
    if is_json():
        show(done)
        return
    echo()
    echo(", ".join(f"{count} {state}" for state, count in sorted(done.trials.items())))
    if done.best_value is None:
        echo("No trial has a value yet.")
        return
    echo(
        f"best: {found.metric} {done.best_value:.6g} with " + " ".join(f"{k}={v}" for k, v in done.best_params.items())
    )
    echo(
        f"Look at them: trine runs ls -e {found.sweep} -o 'metrics.objective {'asc' if found.direction == 'minimize' else 'desc'}'"
    )
