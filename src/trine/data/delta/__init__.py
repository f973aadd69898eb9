"""Tables as Delta Lake: the log of a table's commits, and its types in Delta's words."""
