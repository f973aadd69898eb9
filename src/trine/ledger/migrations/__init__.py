"""Schema changes: Alembic revisions in `versions/`, applied inside the caller's transaction."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import Connection

HEAD = "0001"
"""The revision this code works with."""


def migrate(connection: Connection, found: str) -> None:
    """Bring the schema from revision `found` (empty: nothing there) to HEAD. Raises Failure when it is from a newer Trine."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    from trine.errors import Failure

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    if found and found not in {script.revision for script in scripts.walk_revisions()}:
        raise Failure(f'The workspace has schema "{found}", made by a newer Trine. Upgrade: pip install -U trine.')
    context = EnvironmentContext(config, scripts)
    context.configure(
        connection=connection,
        fn=lambda revision, _context: scripts._upgrade_revs(HEAD, revision),  # type: ignore[arg-type]
        transactional_ddl=False,  # the caller's transaction is the transaction
    )
    with context:
        context.run_migrations()
