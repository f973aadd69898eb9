"""Metrics with confidence intervals, slices, and gates between a candidate and production."""

from trine import lazy

lazy.names(__name__)
