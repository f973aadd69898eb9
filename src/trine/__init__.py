"""Trine keeps machine-learning systems true: code, data and models in one lineage graph, and the loop that keeps them so."""

from trine import lazy

__version__ = "0.1.0"

lazy.names(__name__)
