"""The part of `trine models` that changes the registry: register, protect, approve, stages, and copies of versions."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from trine.cli.models import MODEL, models
from trine.cli.shell import argument, command, echo, is_json, option, print_table, show

if TYPE_CHECKING:
    from trine.workspace import Workspace


@models.command("register")
@argument("name")
@argument("path", metavar="FILE|RULES.PY:FUNCTION")
@option("--inputs", required=True, metavar="DATASET[@REF]|FILE", help="Example rows, best the training rows.")
@option("--label", "labels", multiple=True, help="A column of those that the model does not take. May be repeated.")
@option("--flavor", default="", help="Default: by the file's ending.")
@option("--description", "-m", default="", help="Words about it.")
@option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="May be repeated.")
@option("--allow-pickle", is_flag=True, help="Let a pickle run its code.")
@command(example="trine models register delays model.onnx --inputs flights@may --label late")
def register(
    ws: Workspace,
    name: str,
    path: str,
    inputs: str,
    labels: tuple[str, ...],
    flavor: str,
    description: str,
    tags: tuple[str, ...],
    allow_pickle: bool,
) -> None:
    """Register a model that is in a file in its library's own form, or a plain function."""
    from trine.errors import InvalidInput
    from trine.models.copies import read_model
    from trine.models.registry import register as keep

    for tag in tags:
        if not tag.partition("=")[0] or "=" not in tag:
            raise InvalidInput(f'"{tag}" is no tag: write KEY=VALUE.')
    rows, data = _rows(ws, inputs)
    rows = rows.drop(labels)
    model = read_model(path, flavor=flavor, allow_pickle=allow_pickle)
    made = keep(
        model, name, inputs=rows, data=data, flavor=flavor, description=description, allow_pickle=allow_pickle,
        tags=dict(tag.split("=", 1) for tag in tags), ws=ws,
    )  # fmt: skip
    show(made, text=f"Registered {made.ref} ({made.flavor}{', pickled' if made.pickled else ''}).")


def _rows(ws: Workspace, inputs: str) -> tuple[Any, str]:
    import polars as pl

    from trine import data

    if Path(inputs).is_file():
        return (pl.read_parquet(inputs) if inputs.endswith(".parquet") else pl.read_csv(inputs)), ""
    commit = data.resolve(inputs, ws=ws)
    return data.load(commit.ref, ws=ws).collect(), commit.node


@models.command("protect")
@argument("name")
@argument("alias")
@option("--approvals", default=1, show_default=True, help="How many others have to approve a move.")
@option("--gate/--no-gate", default=True, show_default=True, help="A passed gate against what it points at is needed.")
@option("--allow-pickles", is_flag=True, help="Let pickled versions have it.")
@command(example="trine models protect delays production\ntrine models protect delays production --approvals 2")
def protect(ws: Workspace, name: str, alias: str, approvals: int, gate: bool, allow_pickles: bool) -> None:
    """Let an alias move only with a passed gate and an approval by somebody else."""
    from trine.models import operations

    made = operations.protect_alias(ws, name=name, alias=alias, gate=gate, approvals=approvals, pickles=allow_pickles)
    asks = [*(["a passed gate"] if gate else []), *([f"{approvals} approval(s) by others"] if approvals else [])]
    asks += [] if allow_pickles else ["no pickle"]
    show(made, text=f"{alias} of {name} is protected: {', '.join(asks)}.")


@models.command("unprotect")
@argument("name")
@argument("alias")
@command(example="trine models unprotect delays production")
def unprotect(ws: Workspace, name: str, alias: str) -> None:
    """Let an alias move freely again."""
    from trine.models import operations

    show(operations.unprotect_alias(ws, name=name, alias=alias), text=f"{alias} of {name} is not protected any more.")


@models.command("protections")
@argument("name")
@command(example="trine models protections delays")
def protections(ws: Workspace, name: str) -> None:
    """The protected aliases of a model."""
    from trine.models import operations

    show(
        operations.list_protections(ws, name=name),
        table=[
            ("alias", lambda p: p.alias),
            ("gate", lambda p: "needed" if p.gate else ""),
            ("approvals", lambda p: p.approvals),
            ("pickles", lambda p: "allowed" if p.pickles else "refused"),
            ("by", lambda p: p.author),
        ],
        empty=f"No alias of {name} is protected. Protect one: trine models protect {quote(name)} production",
    )


@models.command("approve")
@argument("name")
@argument("alias", default="production")
@option("--reason", "-m", default="", help="Why; kept with the approval.")
@command(example="trine models approve delays production -m 'looked at the gate'")
def approve(ws: Workspace, name: str, alias: str, reason: str) -> None:
    """Approve the move of an alias that somebody else asked for; who asked then promotes again."""
    from trine.access import operations as access
    from trine.errors import Conflict, NotFound

    waiting = [
        one
        for one in access.list_approvals(ws, state="pending", limit=1000).items
        if one.operation.startswith("models.")
        and one.arguments.get("name") == name
        and str(one.arguments.get("alias", one.arguments.get("stage", ""))).lower() == alias.lower()
    ]
    if not waiting:
        raise NotFound(f"Nobody waits for an approval of {alias} of {name}. See: trine approvals ls")
    if len(waiting) > 1:
        raise Conflict(
            f"{len(waiting)} moves of {alias} of {name} wait: approve the one you mean. See: trine approvals ls --state pending"
        )
    done = access.approve(ws, id=waiting[0].id, reason=reason)
    version = done.arguments.get("version")
    what = f"{name}@{version} as {alias}" if version else f"taking {alias} away"
    left = done.needed - len(done.decided_by)
    show(
        done,
        text=f"Approved {what}, asked for by {done.requester}."
        + (f" {left} more have to approve." if left > 0 else f" {done.requester} can do it now."),
    )


@models.command("stages")
@argument("names", nargs=-1)
@command(example="trine models stages\ntrine models stages dev qa live retired")
def stages(ws: Workspace, names: tuple[str, ...]) -> None:
    """The stages of this project's models; with names, make those the stages."""
    from trine.models import operations

    found = operations.set_stages(ws, names=list(names)) if names else operations.list_stages(ws)
    show(found, text=", ".join(found))


@models.command("stage")
@argument("ref", metavar=MODEL)
@argument("stage")
@option("--alone", is_flag=True, help="Move the versions that are there to the last stage.")
@command(example="trine models stage delays@4 staging")
def stage_(ws: Workspace, ref: str, stage: str, alone: bool) -> None:
    """Put a version into a stage (`none`: into no stage)."""
    from trine.models import operations, resolve

    found = resolve(ref, ws=ws)
    done = operations.set_stage(ws, name=found.name, version=found.version, stage=stage, alone=alone)
    show(done, text=f"{done.ref} is in {done.stage or 'no stage'}.")


@models.command("rename")
@argument("name")
@argument("new_name")
@command(example="trine models rename delays lateness")
def rename(ws: Workspace, name: str, new_name: str) -> None:
    """Give a model another name; endpoints and loops that name the old one have to follow."""
    from trine.models import operations

    show(operations.rename_model(ws, name=name, new_name=new_name), text=f"{name} is {new_name} now.")


@models.command("diff")
@argument("one", metavar=MODEL)
@argument("other", metavar=MODEL)
@command(example="trine models diff delays@production delays@4")
def diff(ws: Workspace, one: str, other: str) -> None:
    """What differs between two versions: signature, metrics, params, data, libraries."""
    from trine.models.differences import diff as compare

    found = compare(one, other, ws=ws)
    if is_json():
        show(found)
    elif not found:
        echo(f"{one} and {other} do not differ.")
    else:
        print_table(["", "", one, other], [[each.part, each.name, each.before, each.after] for each in found])


@models.command("download")
@argument("ref", metavar=MODEL)
@argument("folder")
@command(example="trine models download delays@production ./delays")
def download(ws: Workspace, ref: str, folder: str) -> None:
    """Write a version's files into a folder."""
    from trine.models.copies import download as copy

    show(done := copy(ref, folder, ws=ws), text=f"{done.ref} is in {folder}.")


@models.command("verify")
@argument("ref", metavar=MODEL)
@option("--all", "every_version", is_flag=True, help="All versions of the model.")
@command(example="trine models verify delays@production\ntrine models verify delays --all")
def verify(ws: Workspace, ref: str, every_version: bool) -> None:
    """Check a version's files against their hashes and forms, and its answers to its example."""
    from trine.models import operations
    from trine.models.copies import verify as check
    from trine.operations import every

    refs = [one.ref for one in every(operations.list_versions, ws, name=ref)] if every_version else [ref]
    show(
        [check(one, ws=ws) for one in refs],
        table=[
            ("version", lambda v: v.ref),
            ("files", lambda v: v.files),
            ("bytes", lambda v: f"{v.size_bytes:,}"),
            ("answers", lambda v: "as when it was registered" if v.replayed else v.note),
            ("artifact", lambda v: v.artifact[:12]),
        ],
    )
