"""The door's part on the event log and the lineage graph."""
