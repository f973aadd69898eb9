"""What objects are called, and where they are in a place."""

from __future__ import annotations

from blake3 import blake3

from trine.storage.places import CHUNK


def hash_of(data: bytes) -> str:
    """The name of an object: the BLAKE3 of its bytes."""
    return (blake3(data, max_threads=blake3.AUTO) if len(data) > CHUNK else blake3(data)).hexdigest()


def own_key(name: str) -> str:
    """The key of an object that is stored alone."""
    return f"objects/{name[:2]}/{name}"


def index_key(pack: str) -> str:
    """The key of a pack's index."""
    return pack.removesuffix(".pack") + ".idx"
