"""Principals, roles, tokens, policies and approvals."""
