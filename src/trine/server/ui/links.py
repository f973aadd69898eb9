"""From a node of the lineage graph to its page."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from markupsafe import Markup

_LINK = Markup('<a class="node" href="{}" title="{}"><b>{}</b> {}</a>')

KINDS = {
    "pipeline_run": "pipeline run",
    "step_run": "step",
    "feature_view": "view",
    "feature_service": "service",
}
"""Kinds that are not written as they are named."""


def path(*parts: object) -> str:
    """A path from parts, each quoted."""
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def with_query(address: str, **values: object) -> str:
    """An address with those query values that are not empty."""
    found = urlencode({name: value for name, value in values.items() if value not in ("", None, 0, False)}, doseq=True)
    return f"{address}?{found}" if found else address


def href(node: str) -> str:
    """The page of a node; the lineage page for a kind that has none of its own."""
    kind, _, name = node.partition(":")
    thing, _, version = name.rpartition("@")
    match kind:
        case "dataset" if thing:
            return path("data", thing, "commits", version)
        case "run":
            return path("runs", name)
        case "model" if thing:
            return path("models", thing, "versions", version)
        case "pipeline_run":
            return path("pipelines", name)
        case "step_run":
            run, _, step = name.partition("/")
            return f"{path('pipelines', run)}?{urlencode({'step': step})}#log"
        case "pipeline" if thing:
            return f"/pipelines?{urlencode({'pipeline': thing})}"
        case "gate":
            return path("gates", name)
        case "evaluation":
            return path("evaluations", name)
        case "endpoint":
            return path("endpoints", name)
        case "route" if thing:
            return f"{path('endpoints', thing)}#route-{quote(version)}"
        case "rollout":
            return path("rollouts", name)
        case "prediction":
            return path("predictions", name)
        case "monitor":
            return path("monitors", name)
        case "verdict":
            return path("verdicts", name)
        case "alert":
            return f"/alerts/{quote(name, safe=':')}"
        case "cycle":
            return path("cycles", name)
        case "loop":
            return path("loops", name)
        case "approval":
            return path("approvals", name)
        case "feature_view" | "view" if thing:
            return path("features", "views", thing, version)
        case "feature_service" | "service" if thing:
            return path("features", "services", thing, version)
        case "code":
            return path("code", node)
        case _:
            return f"/lineage?{urlencode({'node': node})}"


def shown(node: str) -> tuple[str, str]:
    """A node's kind and its name, as short as people need them."""
    kind, _, name = node.partition(":")
    if kind in ("run", "prediction", "pipeline_run", "gate", "verdict", "rollout", "cycle", "approval", "evaluation"):
        name = name[-8:] if kind == "prediction" else name[:12]
    elif kind == "step_run":
        run, _, step = name.partition("/")
        name = f"{step} of {run[:8]}"
    elif kind == "code":
        commit, plus, _ = name.partition("+")
        name = commit[:10] + (" + changes" if plus else "")
    return KINDS.get(kind, kind), name


def link(node: str) -> Markup:
    """A node as a link to its page."""
    if ":" not in node:
        return Markup.escape(node)
    kind, name = shown(node)
    return _LINK.format(href(node), node, kind, name)
