"""Trine keeps machine-learning systems true."""
