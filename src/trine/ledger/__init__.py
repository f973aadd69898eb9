"""The metadata database of a workspace: engine, migrations, event log, lineage graph."""

from trine.ledger.engine import Ledger
from trine.ledger.tables import RowId, metadata, upsert

__all__ = ["Ledger", "RowId", "metadata", "upsert"]
