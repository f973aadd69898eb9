"""`trine server` and `trine login`."""

from __future__ import annotations

import click

from trine.cli.shell import argument, command, option, show, single


@single("server")
@option("--host", default="127.0.0.1", show_default=True)
@option("--port", default=8750, show_default=True, help="0 picks a free one.")
@option(
    "--workspace",
    "-w",
    "location",
    metavar="FOLDER|URL",
    help="Folder or postgresql://…; default: the nearest .trine/ or here.",
)
@option("--store", help="Where objects live, for a database workspace: s3://bucket/prefix or a folder (once).")
@option("--allow-host", multiple=True, help="A host name this server answers for; repeatable.")
@command(example="trine server --host 127.0.0.1 --port 8750 --workspace .", workspace=False)
def server(host: str, port: int, location: str | None, store: str | None, allow_host: tuple[str, ...]) -> None:
    """Serve a workspace over HTTP: REST, objects, the event stream. One process, one port."""
    from trine.server.process import run

    run(location, host=host, port=port, store=store, allow_hosts=allow_host)


@single("login")
@argument("url")
@option("--name", prompt="Name (user:…)", help="Your principal, for instance user:ana.")
@option("--secret", default="", help="The one-time secret a new server printed: makes you the first admin.")
@option("--password", prompt=True, hide_input=True)
@command(example="trine login http://127.0.0.1:8750 --name user:ana", workspace=False)
def login(url: str, name: str, secret: str, password: str) -> None:
    """Sign in to a server; prints a token for TRINE_TOKEN."""
    import msgspec

    from trine.access.operations import TokenInfo
    from trine.remote import Remote

    body = {"name": name, "password": password, **({"secret": secret} if secret else {})}
    remote = Remote(url.rstrip("/"), token="", project="default")
    answer = remote.send("POST", "/bootstrap" if secret else "/login", json=body)
    made = msgspec.json.decode(answer.content, type=TokenInfo)
    show(made, text=f"export TRINE_WORKSPACE={url} TRINE_TOKEN={made.text}")
    click.echo("Keep the token secret; it is shown once.", err=True)
