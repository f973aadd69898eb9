"""`trine ui`."""

from __future__ import annotations

import sys
import webbrowser
from typing import TYPE_CHECKING

from trine.cli.shell import command, echo, option, show, single

if TYPE_CHECKING:
    from trine.server.process import Started


@single("ui")
@option("--port", default=8751, show_default=True, help="0 picks a free one.")
@option("--workspace", "-w", "location", metavar="FOLDER|URL", help="Workspace; default: the nearest .trine/.")
@option("--browser/--no-browser", default=True, help="Whether to open the browser.")
@command(example="trine ui\ntrine ui --workspace flights --no-browser", workspace=False)
def ui(port: int, location: str | None, browser: bool) -> None:
    """Look at a workspace in the browser: runs, data, models, endpoints, monitors, lineage, and what waits for you.

    The pages are served to this machine alone, and whoever is on it acts as you. For a team: trine server.
    """
    from trine.workspace import locate

    found = locate(location)
    if found.location.startswith(("http://", "https://")):
        show({"url": found.location}, text=f"This workspace is on a server: {found.location}")
        if browser:
            webbrowser.open(found.location)
        return
    from trine.server.process import run

    def tell(started: Started) -> None:
        show({"url": started.url, "workspace": started.workspace}, text=f"looking at {started.workspace}")
        echo(f"listening on {started.url} (Ctrl-C stops it)")
        sys.stdout.flush()
        if browser:
            webbrowser.open(started.url)

    run(location, host="127.0.0.1", port=port, tell=tell, embedded=True)
