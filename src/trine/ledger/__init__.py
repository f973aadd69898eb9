"""The metadata database of a workspace: engine, migrations, event log, lineage graph."""

from trine.ledger.engine import Ledger
from trine.ledger.tables import RowId, is_object, metadata, tells_of_object, upsert

__all__ = ["Ledger", "RowId", "is_object", "metadata", "tells_of_object", "upsert"]
