"""Principals, roles, tokens, policies, approvals, the event log and the lineage graph: who may do what, and what was done."""

from trine import lazy

lazy.names(__name__)
