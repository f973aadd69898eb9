"""Endpoints, routes and rollouts; the server of predictions; the prediction log, labels, and the way back from one answer."""

from trine import lazy

lazy.names(__name__)
