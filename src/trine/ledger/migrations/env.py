"""Alembic asks for this file; Trine drives migrations from `migrate`, inside its own transaction."""
