"""`trine server` and `trine login`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from trine.cli.shell import argument, command, option, show, single

if TYPE_CHECKING:
    from trine.server.process import Started


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
@option("--allow-pickle", is_flag=True, help="Let gates load pickled models: runs code that came with them.")
@command(example="trine server --host 127.0.0.1 --port 8750 --workspace .", workspace=False)
def server(
    host: str, port: int, location: str | None, store: str | None, allow_host: tuple[str, ...], allow_pickle: bool
) -> None:
    """Serve a workspace over HTTP: REST, objects, the event stream. One process, one port."""
    from trine.server.process import run

    def tell(started: Started) -> None:
        show(started, text=_welcome(started))
        sys.stdout.flush()

    run(location, host=host, port=port, tell=tell, store=store, allow_hosts=allow_host, allow_pickle=allow_pickle)


def _welcome(started: Started) -> str:
    """What somebody who started a server reads: the line with its address last."""
    lines = [f"listening on {started.url} (workspace {started.workspace})"]
    if started.secret:
        login = f"trine login {started.url} --name user:YOU --secret {started.secret}"
        lines = ["No users yet. Make the first admin:", f"  {login}", *lines]
    return "\n".join(lines)


@single("login")
@argument("url")
@option("--name", prompt="Name (user:…)", help="Your principal, for instance user:ana.")
@option("--secret", default="", help="The one-time secret a new server printed: makes you the first admin.")
@option("--password", help="Default: asked for. With --secret it may be empty: then there is only the token.")
@option("--print", "print_it", is_flag=True, help="Print the token instead of keeping it for commands here.")
@command(example="trine login http://127.0.0.1:8750 --name user:ana", workspace=False)
def login(url: str, name: str, secret: str, password: str | None, print_it: bool) -> None:
    """Sign in to a server and keep its token: commands and trine.connect(URL) use it from then on."""
    import msgspec

    from trine.access.operations import TokenInfo
    from trine.remote import Remote
    from trine.settings import keep_token

    if password is None:
        password = "" if secret and not sys.stdin.isatty() else _ask(first=bool(secret))
    body = {"name": name, "password": password, **({"secret": secret} if secret else {})}
    with contextlib.closing(Remote(url.rstrip("/"), token="", project="default")) as remote:
        answer = remote.send("POST", "/bootstrap" if secret else "/login", json=body)
    made = msgspec.json.decode(answer.content, type=TokenInfo)
    if print_it:
        show(made, text=made.text)
        return
    path = keep_token(url, made.text)
    show(
        {"principal": made.principal, "server": url, "kept": str(path), "expires_us": made.expires_us},
        text=f"Signed in to {url} as {made.principal}; the token is kept in {path}.\n"
        f"Next: export TRINE_WORKSPACE={url}",
    )


def _ask(*, first: bool) -> str:
    if first:
        return click.prompt(
            "Password (empty: none)",
            default="",
            show_default=False,
            hide_input=True,
            confirmation_prompt=True,
            err=True,
        )
    return click.prompt("Password", hide_input=True, err=True)
