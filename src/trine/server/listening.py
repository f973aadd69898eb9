"""The socket a server listens on, bound before anything is loaded so that a taken port is told at once."""

from __future__ import annotations

import socket

from trine.errors import Failure


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 picks a free one. Raises Failure when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Failure(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port.") from error
    listener.listen(2048)
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """The address that a listening socket is reached under."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
