"""The web pages: rendered on the server from the operations, readable without JavaScript, live with it."""

from trine.server.ui.site import Site

__all__ = ["Site"]
