"""`trine access` and `trine approvals`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import ago, argument, command, echo, group, option, show

if TYPE_CHECKING:
    from trine.workspace import Workspace

ROLE = click.Choice(["viewer", "contributor", "maintainer", "approver", "auditor", "admin"])


@group()
def access() -> None:
    """Who may do what: principals, roles, tokens, policies."""


@access.command("ls")
@command(example="trine access ls")
def list_(ws: Workspace) -> None:
    """Users and services, with their roles in this project."""
    from trine.access import operations

    show(
        operations.list_principals(ws, limit=1000),
        table=[
            ("principal", lambda p: p.name),
            ("roles", lambda p: p.roles),
            ("disabled", lambda p: p.disabled),
            ("added", lambda p: ago(p.created_us)),
        ],
        empty="Nobody yet. Add one: trine access add user:ana --role contributor",
    )


@access.command("add")
@argument("name")
@option("--role", type=ROLE, help="A role to grant at once.")
@option("--everywhere", is_flag=True, help="Grant it in every project.")
@option("--password", is_flag=True, help="Ask for a password, to sign in on a server.")
@command(example="trine access add user:ana --role approver")
def add(ws: Workspace, name: str, role: Any, everywhere: bool, password: bool) -> None:
    """Add a user (user:NAME) or service (service:NAME)."""
    from trine.access import operations

    secret = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True) if password else ""
    made = operations.create_principal(ws, name=name, password=secret)
    if role:
        operations.grant_role(ws, principal_name=name, role=role, everywhere=everywhere)
    show(made, text=f"Added {name}{f' as {role}' if role else ''}.\nNext: trine access token create {name}")


@access.command("grant")
@argument("name")
@argument("role", type=ROLE)
@option("--everywhere", is_flag=True, help="In every project.")
@command(example="trine access grant user:ana approver")
def grant(ws: Workspace, name: str, role: Any, everywhere: bool) -> None:
    """Give a principal a role in this project."""
    from trine.access import operations

    done = operations.grant_role(ws, principal_name=name, role=role, everywhere=everywhere)
    show(done, text=f"{name} is {role} {'everywhere' if everywhere else f'in {ws.project}'}.")


@access.command("revoke")
@argument("name")
@argument("role", type=ROLE)
@option("--everywhere", is_flag=True, help="The grant for every project.")
@command(example="trine access revoke user:ana approver")
def revoke(ws: Workspace, name: str, role: Any, everywhere: bool) -> None:
    """Take a role away."""
    from trine.access import operations

    done = operations.revoke_role(ws, principal_name=name, role=role, everywhere=everywhere)
    show(done, text=f"{name} is no longer {role}." if done.changed else f"{name} was not {role}.")


@access.command("password")
@argument("name")
@command(example="trine access password user:ana")
def password_(ws: Workspace, name: str) -> None:
    """Give a user a new password to sign in with; its logins end."""
    from trine.access import operations

    secret = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    show(operations.set_password(ws, name=name, password=secret), text=f"{name} has a new password.")


@access.command("disable")
@argument("name")
@option("--undo", is_flag=True, help="Switch it on again.")
@command(example="trine access disable service:old-ci")
def disable(ws: Workspace, name: str, undo: bool) -> None:
    """Switch a user or service off in every project: its tokens stop at once."""
    from trine.access import operations

    show(
        operations.disable_principal(ws, name=name, disabled=not undo),
        text=f"{name} is {'on again' if undo else 'switched off'}.",
    )


@access.group("token")
def token() -> None:
    """Tokens: what programs and people without a session use."""


@token.command("create")
@argument("principal_name")
@option(
    "--scope",
    "scopes",
    multiple=True,
    default=("*",),
    help="Permission pattern, for instance models.read; repeatable.",
)
@option("--days", default=90, show_default=True, help="Valid for that many days; 0 means for ever.")
@option("--everywhere", is_flag=True, help="For every project.")
@option("--description", default="", help="What it is for.")
@option("--keys", is_flag=True, help="A key pair too, for clients of S3: shown instead, as two variables.")
@command(
    example="trine access token create service:ci --scope 'models.*' --days 30\n"
    "export $(trine access token create user:ana --keys)"
)
def token_create(
    ws: Workspace,
    principal_name: str,
    scopes: tuple[str, ...],
    days: int,
    everywhere: bool,
    description: str,
    keys: bool,
) -> None:
    """Make a token; its text is shown once."""
    from trine.access import operations

    made = operations.create_token(
        ws,
        principal_name=principal_name,
        scopes=list(scopes),
        everywhere=everywhere,
        expires_s=days * 86_400,
        description=description,
        signs=keys,
    )
    pair = f"AWS_ACCESS_KEY_ID={made.id}\nAWS_SECRET_ACCESS_KEY={made.secret_key}"
    show(made, text=pair if keys else made.text)


@token.command("ls")
@command(example="trine access token ls")
def token_list(ws: Workspace) -> None:
    """Tokens without their secrets."""
    from trine.access import operations

    show(
        operations.list_tokens(ws, limit=1000),
        table=[
            ("id", lambda t: t.id),
            ("principal", lambda t: t.principal),
            ("scopes", lambda t: t.scopes),
            ("project", lambda t: t.project),
            ("revoked", lambda t: t.revoked_us is not None),
            ("made", lambda t: ago(t.created_us)),
            ("for", lambda t: t.description),
        ],
    )


@token.command("revoke")
@argument("token_id")
@command(example="trine access token revoke 3f9a0c2b1d4e5f60")
def token_revoke(ws: Workspace, token_id: str) -> None:
    """Revoke a token at once."""
    from trine.access import operations

    show(operations.revoke_token(ws, id=token_id), text=f"Revoked {token_id}.")


@access.group("webhook")
def webhook() -> None:
    """Addresses that are told of events."""


@webhook.command("add")
@argument("name")
@argument("url")
@option("--on", "events", multiple=True, required=True, metavar="OPERATION", help="A name or pattern; may be repeated.")
@option("--allow-private", is_flag=True, help="The address may be one that is not public.")
@command(example="trine access webhook add releases https://hooks.example.com/trine --on models.promote_model")
def webhook_add(ws: Workspace, name: str, url: str, events: tuple[str, ...], allow_private: bool) -> None:
    """Tell an address of events from now on; the secret that signs them is shown once."""
    from trine.access import webhooks

    made = webhooks.create_webhook(ws, name=name, url=url, events=list(events), allow_private=allow_private)
    show(made, text=made.secret)


@webhook.command("ls")
@command(example="trine access webhook ls")
def webhook_list(ws: Workspace) -> None:
    """The webhooks of this project."""
    from trine.access import webhooks

    show(
        webhooks.list_webhooks(ws),
        table=[
            ("webhook", lambda w: w.name),
            ("address", lambda w: w.url),
            ("told of", lambda w: w.events),
            ("by", lambda w: w.author),
        ],
        empty="No webhooks. Add one: trine access webhook add NAME URL --on 'models.*'",
    )


@webhook.command("rm")
@argument("name")
@command(example="trine access webhook rm releases")
def webhook_remove(ws: Workspace, name: str) -> None:
    """Tell an address nothing any more."""
    from trine.access import webhooks

    show(webhooks.delete_webhook(ws, name=name), text=f"{name} is told nothing any more.")


@webhook.command("deliveries")
@argument("name")
@option("--limit", default=50, show_default=True)
@command(example="trine access webhook deliveries releases")
def webhook_deliveries(ws: Workspace, name: str, limit: int) -> None:
    """What was sent to a webhook and what came of it, newest first."""
    from trine.access import webhooks

    show(
        webhooks.list_deliveries(ws, name=name, limit=limit),
        table=[
            ("delivery", lambda d: d.id[:12]),
            ("event", lambda d: d.event),
            ("operation", lambda d: d.operation),
            ("state", lambda d: d.state),
            ("tries", lambda d: d.attempts),
            ("answer", lambda d: d.status or d.error),
            ("made", lambda d: ago(d.created_us)),
        ],
        empty=f"Nothing was sent to {name} yet.",
    )


@webhook.command("deliver")
@command(example="trine access webhook deliver")
def webhook_deliver(ws: Workspace) -> None:
    """Send what is due now; a server does it by itself."""
    from trine.access.deliveries import deliver
    from trine.errors import InvalidInput

    if ws.remote is not None:
        raise InvalidInput(f"{ws.location} is a server: it tells its webhooks itself.")
    count = deliver(ws)
    show({"tried": count}, text=f"{count} tried.")


@access.group("policy")
def policy() -> None:
    """Policies: operations that wait for a second person."""


@policy.command("set")
@argument("name")
@argument("operation")
@option(
    "--when",
    "when",
    multiple=True,
    metavar="ARGUMENT=VALUE",
    help="Hold only when the argument has this value; repeatable.",
)
@option("--approvals", default=1, show_default=True, help="How many others have to approve.")
@command(example="trine access policy set four-eyes models.promote_model --when alias=production")
def policy_set(ws: Workspace, name: str, operation: str, when: tuple[str, ...], approvals: int) -> None:
    """Hold OPERATION (a name or a pattern such as 'serving.*') until others approve."""
    from trine.access import operations
    from trine.errors import InvalidInput

    conditions: dict[str, Any] = {}
    for one in when:
        key, equals, value = one.partition("=")
        if not equals:
            raise InvalidInput(f'"{one}" is no condition: write argument=value, for instance alias=production.')
        conditions[key] = int(value) if value.isdigit() else value
    made = operations.set_policy(ws, name=name, operation=operation, when=conditions, approvals=approvals)
    show(made, text=f"{operation} is held by {name} until {approvals} other(s) approve.")


@policy.command("ls")
@command(example="trine access policy ls")
def policy_list(ws: Workspace) -> None:
    """The policies of this project."""
    from trine.access import operations

    show(
        operations.list_policies(ws),
        table=[
            ("policy", lambda p: p.name),
            ("holds", lambda p: p.operation),
            ("when", lambda p: [f"{k}={v}" for k, v in p.when.items()]),
            ("approvals", lambda p: p.approvals),
        ],
        empty="No policies: nothing waits for approval.",
    )


@policy.command("rm")
@argument("name")
@command(example="trine access policy rm four-eyes")
def policy_remove(ws: Workspace, name: str) -> None:
    """Remove a policy."""
    from trine.access import operations

    show(operations.delete_policy(ws, name=name), text=f"Removed {name}.")


@group()
def approvals() -> None:
    """Held operations that wait for a second person."""


@approvals.command("ls")
@option("--state", type=click.Choice(["pending", "approved", "rejected", "used", "void", "expired"]))
@command(example="trine approvals ls --state pending")
def approvals_list(ws: Workspace, state: Any) -> None:
    """Requests for approval, newest first."""
    from trine.access import operations

    show(
        operations.list_approvals(ws, state=state or ""),
        table=[
            ("id", lambda a: a.id),
            ("state", lambda a: a.state),
            ("operation", lambda a: a.operation),
            ("object", lambda a: a.object),
            ("asked by", lambda a: a.requester),
            ("decided by", lambda a: a.decided_by),
            ("asked", lambda a: ago(a.created_us)),
        ],
        empty="Nothing waits for approval.",
    )


@approvals.command("approve")
@argument("approval_id")
@option("--reason", "-m", default="", help="Why.")
@command(example="trine approvals approve 0192… -m 'read the gate report'")
def approvals_approve(ws: Workspace, approval_id: str, reason: str) -> None:
    """Approve a held call of somebody else."""
    from trine.access import operations

    done = operations.approve(ws, id=approval_id, reason=reason)
    show(done, text=f"{done.operation} on {done.object} is {done.state}.")
    if done.state == "approved":
        echo(f"{done.requester} can make the call now.")


@approvals.command("reject")
@argument("approval_id")
@option("--reason", "-m", default="", help="Why.")
@command(example="trine approvals reject 0192… -m 'the slice EWR got worse'")
def approvals_reject(ws: Workspace, approval_id: str, reason: str) -> None:
    """Reject a held call of somebody else."""
    from trine.access import operations

    done = operations.reject(ws, id=approval_id, reason=reason)
    show(done, text=f"{done.operation} on {done.object} is {done.state}.")
