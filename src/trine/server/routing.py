"""From a method and a path to an operation: one walk down a tree, whatever the number of operations."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from trine.errors import Failure, InvalidInput
from trine.operations import Operation


class Node:
    """One place in the tree of paths: what follows a fixed part, what follows a parameter, and what is here by method."""

    def __init__(self) -> None:
        self.fixed: dict[str, Node] = {}
        self.parameter: Node | None = None
        self.operations: dict[str, Operation] = {}

    def find(self, parts: list[str], at: int = 0) -> tuple[Node, list[str]] | None:
        """The node of a path and the values of its parameters; a fixed part goes before a parameter."""
        if at == len(parts):
            return (self, []) if self.operations else None
        part = parts[at]
        if (fixed := self.fixed.get(part)) and (found := fixed.find(parts, at + 1)):
            return found
        if self.parameter and (found := self.parameter.find(parts, at + 1)):
            return found[0], [part, *found[1]]
        return None


def tree_of(operations: Iterable[Operation]) -> Node:
    """The tree of all operations. Raises Failure when two have the same route."""
    root = Node()
    for one in operations:
        node = root
        for part in one.path.strip("/").split("/"):
            if part.startswith("{"):
                node.parameter = node = node.parameter or Node()
            else:
                node = node.fixed.setdefault(part, Node())
        if other := node.operations.get(one.method):
            raise Failure(f"{one.name} and {other.name} have the same route {one.method} {one.path}.")
        node.operations[one.method] = one
    return root


def split(raw_path: bytes) -> list[str]:
    """The parts of a path (below its root) as it was sent, each decoded once: a slash inside a part stays in it. Raises InvalidInput."""
    try:
        return [unquote_to_bytes(part).decode() for part in raw_path.split(b"/")]
    except UnicodeDecodeError:
        raise InvalidInput("The path is not valid UTF-8.") from None
