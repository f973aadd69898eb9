"""Continuous training: triggers start a cycle of training, gate, approval, promotion and rollout."""

from trine import lazy

lazy.names(__name__)
