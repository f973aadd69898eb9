"""The one door: every way in (Python, command line, REST, UI, scheduler) goes through operations.

An operation is one typed function. Calling it with a local workspace checks the arguments against the annotations,
authorises the principal, opens one transaction, runs the body, writes the event row in the same transaction, and
commits. Calling it with a remote workspace sends the same call to the server, which does exactly that.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import msgspec
from sqlalchemy import delete, insert, select

from trine.access.approvals import Held, Hold, Rule, file_request, find_hold, use_approval
from trine.access.principals import authorise
from trine.access.roles import verb_of
from trine.errors import ApprovalRequired, Conflict, Failure, InvalidInput, Refused, nearest
from trine.ids import canonical_json, digest
from trine.ledger.events import append_event
from trine.ledger.lineage import add_edges, add_nodes
from trine.ledger.tables import idempotency
from trine.types import Done, Limit, Name, Page, is_secret, plain
from trine.workspace import Scope, Transaction, Workspace, transaction

__all__ = [
    "REGISTRY",
    "Done",
    "Limit",
    "Name",
    "Operation",
    "Page",
    "every",
    "operation",
    "page_of",
    "page_start",
    "perform",
]

P = ParamSpec("P")
R = TypeVar("R")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
State = Callable[..., Any]
Holds = Callable[..., Rule | None]
Prepares = Callable[..., Any]


class Operation:
    """One entry of the door: its function, its route and its permission."""

    def __init__(
        self,
        function: Callable[..., Any],
        route: str,
        allows: str,
        state: State | None,
        keeps: bool,
        holds: Holds | None = None,
        prepares: Prepares | None = None,
    ) -> None:
        method, _, path = route.partition(" ")
        if method not in typing.get_args(Method) or not path.startswith("/"):
            raise InvalidInput(f'"{route}" is no route: write "POST /models/{{name}}/versions".')
        verb_of(allows)  # an operation without a permission that exists cannot be registered
        self.function = function
        self.method: str = method
        self.path = path
        self.allows = allows
        self.state = state
        self.holds = holds
        self.prepares = prepares
        self.keeps = keeps
        room = (function.__module__.split(".")[1:] or [function.__module__])[0]
        self.name = f"{room}.{function.__name__}"
        self.path_parameters = re.findall(r"\{(\w+)\}", path)

    @property
    def changes(self) -> bool:
        return self.method != "GET"

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.function) or self.name).split("\n\n")[0].replace("\n", " ")

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.function, include_extras=True)

    @functools.cached_property
    def result(self) -> Any:
        return self._hints["return"]

    @functools.cached_property
    def arguments(self) -> type[msgspec.Struct]:
        """The arguments as a struct, made from the signature."""
        fields: list[Any] = []
        for parameter in list(inspect.signature(self.function).parameters.values())[1:]:
            kind = self._hints[parameter.name]
            if parameter.default is inspect.Parameter.empty:
                fields.append((parameter.name, kind))
            else:
                fields.append((parameter.name, kind, _default(parameter.default)))
        struct_name = "".join(part.title() for part in re.split(r"[._]", self.name)) + "Arguments"
        return msgspec.defstruct(struct_name, fields, frozen=True, kw_only=True, forbid_unknown_fields=True)

    @functools.cached_property
    def secrets(self) -> frozenset[str]:
        """Names of arguments that are never written anywhere."""
        return frozenset(name for name, kind in self._hints.items() if is_secret(kind))

    def bind(self, values: dict[str, Any]) -> msgspec.Struct:
        """The checked arguments. Raises InvalidInput naming the operation and the argument."""
        known = self.arguments.__struct_fields__
        for name in values:
            if name not in known:
                raise InvalidInput(f'{self.name} has no argument "{name}".{nearest(name, known)}', argument=name)
        checked: dict[str, Any] = {}
        for name, value in values.items():
            try:
                checked[name] = plain(value)
            except ValueError as error:
                raise InvalidInput(f'{self.name}: wrong value for "{name}": {error}.', argument=name) from None
        try:
            return msgspec.convert(checked, self.arguments)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$")
            where = where.rstrip("`").lstrip(".")
            if found := re.search(r"missing required field `(\w+)`", message):
                raise InvalidInput(f'{self.name} needs the argument "{found[1]}".', argument=found[1]) from error
            shown = f' for "{where}"' if where else ""
            raise InvalidInput(
                f"{self.name}: wrong value{shown}: {message[:1].lower()}{message[1:]}.", argument=where
            ) from error

    def public(self, arguments: msgspec.Struct) -> dict[str, Any]:
        """The arguments as plain JSON-able values, secrets masked: what events and approvals hold."""
        values: dict[str, Any] = msgspec.to_builtins(arguments)
        return {name: ("…" if name in self.secrets else value) for name, value in values.items()}

    def hold(self, ws: Workspace, arguments: msgspec.Struct) -> Hold | None:
        """What this call has to be approved for, by the policies and by the operation itself."""
        values = {name: getattr(arguments, name) for name in arguments.__struct_fields__}
        own = self.holds(ws, **values) if self.holds else None
        state = partial(self.state, ws, **values) if self.state else None
        return find_hold(ws.tx.connection, ws.project, self.name, self.public(arguments), state, own)

    def object_of(self, arguments: msgspec.Struct) -> str:
        """The name of what a call is about, when its body did not say: room and the path's first parameter."""
        room = self.name.partition(".")[0]
        return ":".join([room, *(str(getattr(arguments, name)) for name in self.path_parameters)])


def _default(value: Any) -> Any:
    return msgspec.field(default_factory=lambda: type(value)(value)) if isinstance(value, (list, dict, set)) else value


REGISTRY: dict[str, Operation] = {}
"""Every operation by name, filled as rooms are imported."""


def operation(
    route: str,
    *,
    allows: str,
    state: State | None = None,
    holds: Holds | None = None,
    prepares: Prepares | None = None,
    keeps: bool = True,
) -> Callable[[Callable[Concatenate[Workspace, P], R]], Callable[Concatenate[Workspace, P], R]]:
    """Make a function `(ws, *, …) -> result` an operation.

    `route` is "METHOD /path/{argument}": GET reads, everything else changes. `allows` is the permission `room.verb`.
    `state(ws, **arguments)` gives the JSON-able state an approval of this call is bound to. `holds(ws, **arguments)` gives a
    rule when the operation itself asks for an approval of this call, whatever the policies say; it may refuse the call before.
    `prepares(ws, **arguments)` does what takes long before the transaction opens, so that no other writer waits for it; the body
    finds what it gave in `ws.tx.prepared`.
    `keeps=False` says that the answer holds a secret, so it is not kept for a repeat under the same idempotency key.
    """

    def register(function: Callable[Concatenate[Workspace, P], R]) -> Callable[Concatenate[Workspace, P], R]:
        one = Operation(function, route, allows, state, keeps, holds, prepares)
        if one.name in REGISTRY and REGISTRY[one.name].function.__module__ != function.__module__:
            raise InvalidInput(f"Operation {one.name} is registered twice.")
        REGISTRY[one.name] = one

        @functools.wraps(function)
        def call(ws: Workspace, *positional: P.args, **values: P.kwargs) -> R:
            if positional:
                raise InvalidInput(f"{one.name} takes its arguments by name.")
            return perform(one, ws, values)

        call.operation = one  # type: ignore[attr-defined]
        return call

    return register


def perform(
    one: Operation, ws: Workspace, values: dict[str, Any], *, idempotency_key: str = "", request_id: str = ""
) -> Any:
    """Go through the door: see the module's head. A call inside an operation's body joins its transaction."""
    arguments = one.bind(values)
    if ws.remote is not None:
        return ws.remote.call(one, arguments, idempotency_key=idempotency_key)
    outer = ws.transaction
    if outer is not None:
        if one.changes and not outer.writes:
            raise Failure(f"{one.name} changes the workspace, and was called inside an operation that only reads.")
        return _enter(one, ws, outer, arguments, _prepare(one, ws, arguments) if one.prepares else None)
    try:
        prepared = _prepare(one, ws, arguments) if one.prepares else None
        with transaction(ws, write=one.changes, request_id=request_id) as tx:
            if not (idempotency_key and one.changes and one.keeps):
                return _enter(one, ws, tx, arguments, prepared)
            return _once(one, ws, tx, arguments, idempotency_key, prepared)
    except Refused as error:
        if not isinstance(error, ApprovalRequired):
            _log_refusal(one, ws, arguments, error, request_id)
        raise
    except Held as held:
        raise _file_request(one, ws, arguments, held.hold, request_id) from None


def _prepare(one: Operation, ws: Workspace, arguments: msgspec.Struct) -> Any:
    """What an operation works out before its transaction, for a caller who may do it."""
    assert one.prepares is not None
    with contextlib.nullcontext(ws.transaction) if ws.transaction else transaction(ws, write=False) as tx:
        authorise(tx.connection, ws.principal, ws.project, one.allows)
    return one.prepares(ws, **{name: getattr(arguments, name) for name in arguments.__struct_fields__})


def _enter(one: Operation, ws: Workspace, tx: Transaction, arguments: msgspec.Struct, prepared: Any = None) -> Any:
    authorise(tx.connection, ws.principal, ws.project, one.allows)
    values = {name: getattr(arguments, name) for name in arguments.__struct_fields__}
    if not one.changes:
        return one.function(ws, **values)
    public = one.public(arguments)
    hold = one.hold(ws, arguments)
    approved = use_approval(tx.connection, hold, ws.principal.name, tx.now_us) if hold else ""
    outer, tx.scope = tx.scope, Scope(prepared)
    try:
        result = one.function(ws, **values)
        if approved:
            tx.note(approval=approved)
            if tx.scope.object and "@" in tx.scope.object:
                tx.link(f"approval:{approved}", "approved", tx.scope.object)
        _write_event(one, ws, tx, arguments, public, "done")
    finally:
        tx.scope = outer
    return result


def _write_event(
    one: Operation,
    ws: Workspace,
    tx: Transaction,
    arguments: msgspec.Struct,
    public: dict[str, Any],
    outcome: str,
) -> None:
    scope = tx.scope
    if scope.nodes:
        add_nodes(tx.connection, ws.project, scope.nodes)
    if scope.edges:
        add_edges(tx.connection, ws.project, scope.edges, tx.now_us)
    append_event(
        tx.connection,
        time_us=tx.now_us,
        actor=ws.principal.name,
        on_behalf_of=ws.on_behalf_of,
        project=ws.project,
        operation=one.name,
        object=scope.object or one.object_of(arguments),
        outcome=outcome,
        request_id=tx.request_id,
        before=scope.before,
        after=scope.after,
        body={"arguments": _short(public), **scope.notes},
    )


LARGEST_ARGUMENT = 4_096
"""Bytes of one argument that an event keeps as it is; a larger one is kept as its digest."""


def _short(public: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        if len(encoded := canonical_json(value)) <= LARGEST_ARGUMENT
        else {"digest": digest(encoded), "bytes": len(encoded)}
        for name, value in public.items()
    }


REPEATS_FOR_US = 86_400_000_000
"""How long a call may be repeated under its idempotency key."""


def _once(
    one: Operation, ws: Workspace, tx: Transaction, arguments: msgspec.Struct, key: str, prepared: Any = None
) -> Any:
    """Run a call that carries an idempotency key: a repeat gets the first answer, another call under the key is refused."""
    bound = digest([one.name, ws.project, one.public(arguments)])
    actor = ws.principal.name
    row = tx.first(select(idempotency).where(idempotency.c.actor == actor, idempotency.c.key == key))
    if row is not None:
        if row.arguments != bound:
            raise Conflict(f'Idempotency key "{key}" was used for another call of {row.operation}. Use a new key.')
        return msgspec.msgpack.decode(row.result, type=one.result)
    result = _enter(one, ws, tx, arguments, prepared)
    tx.execute(delete(idempotency).where(idempotency.c.time_us < tx.now_us - REPEATS_FOR_US))
    tx.execute(
        insert(idempotency).values(
            actor=actor,
            key=key,
            operation=one.name,
            arguments=bound,
            result=msgspec.msgpack.encode(result),
            time_us=tx.now_us,
        )
    )
    return result


def _log_refusal(one: Operation, ws: Workspace, arguments: msgspec.Struct, error: Refused, request_id: str) -> None:
    with transaction(ws, write=True, request_id=request_id) as tx:
        tx.note(refused=error.message)
        _write_event(one, ws, tx, arguments, one.public(arguments), "refused")


def _file_request(
    one: Operation, ws: Workspace, arguments: msgspec.Struct, hold: Hold, request_id: str
) -> ApprovalRequired:
    with transaction(ws, write=True, request_id=request_id) as tx:
        about = one.object_of(arguments)
        identity, new = file_request(tx.connection, hold, ws.project, about, ws.principal.name, tx.now_us)
        if new:
            tx.note(approval=identity, policy=hold.policy)
            _write_event(one, ws, tx, arguments, one.public(arguments), "held")
    return ApprovalRequired(
        f'{one.name} is held by policy "{hold.policy}": somebody other than {ws.principal.name} has to approve it. '
        f"Ask them for: trine approvals approve {identity} — then call it again.",
        approval=identity,
        policy=hold.policy,
    )


def page_start(token: str, *, fields: type[R]) -> R | None:
    """What a page token stands for (the last row's sort key), or None for the first page. Raises InvalidInput."""
    if not token:
        return None
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=fields)
        plain(found)  # a made-up token may hold what no database takes
        return found
    except (ValueError, msgspec.DecodeError):
        raise InvalidInput("That page token is not one Trine gave out. Start again without a page token.") from None


def page_of(items: list[R], limit: int, key: Callable[[R], Any]) -> Page[R]:
    """A page from up to `limit + 1` items: one more than asked for tells that there is a next page."""
    if len(items) <= limit:
        return Page(items)
    token = base64.urlsafe_b64encode(canonical_json(key(items[limit - 1]))).decode()
    return Page(items[:limit], token)


def every(call: Callable[..., Page[R]], ws: Workspace, **values: Any) -> Iterator[R]:
    """All items of a listing operation, page by page."""
    page = call(ws, limit=1000, **values)
    yield from page.items
    while page.next:
        page = call(ws, limit=1000, page=page.next, **values)
        yield from page.items
