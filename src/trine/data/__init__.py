"""Versioned data: dataset commits, tables, profiles, expectations."""

from trine import lazy

lazy.names(__name__)
