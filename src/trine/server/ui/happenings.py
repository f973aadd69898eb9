"""Events in words, for people who want to know what happened and not which function was called."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trine.ledger.events import Event

WORDS: dict[str, str] = {
    "access.approve": "approved",
    "access.reject": "rejected",
    "access.create_principal": "added",
    "access.grant_role": "granted a role to",
    "access.revoke_role": "took a role from",
    "access.create_token": "made a token",
    "access.revoke_token": "revoked a token",
    "access.set_policy": "set a policy",
    "data.commit_dataset": "committed",
    "data.create_branch": "started a branch at",
    "data.tag_commit": "tagged",
    "evaluation.record_evaluation": "evaluated",
    "evaluation.judge_gate": "gate judged",
    "evaluation.record_gate": "gate noted",
    "features.register_definitions": "defined",
    "features.publish_snapshot": "published",
    "loop.move_cycle": "cycle moved on",
    "loop.put_loop": "defined the loop",
    "loop.start_cycle": "started a cycle",
    "loop.trigger_loop": "asked for a cycle",
    "models.promote_model": "promoted",
    "models.register_version": "registered",
    "models.rollback_alias": "rolled back",
    "models.delete_version": "deleted",
    "monitoring.acknowledge_alert": "acknowledged",
    "monitoring.create_monitor": "made the monitor",
    "monitoring.mute_alert": "muted",
    "monitoring.record_verdict": "monitor judged",
    "pipelines.finish_pipeline_run": "finished",
    "pipelines.start_pipeline_run": "started",
    "pipelines.cancel_pipeline_run": "cancelled",
    "serving.create_endpoint": "made the endpoint",
    "serving.move_rollout": "rollout moved on",
    "serving.roll_back": "rolled back",
    "serving.set_route": "deployed",
    "serving.start_rollout": "started a rollout",
    "tracking.end_run": "ended",
    "tracking.delete_run": "deleted",
}
"""What an operation did; of others, and of those that only carry data, the first page does not speak."""


MOST_ALIKE = 3
"""Events of one operation in a row that are told one by one."""


class Happening(msgspec.Struct, frozen=True):
    """An event and what it did in words; `more` of the same kind came right before it."""

    event: Event
    words: str
    more: int = 0


def told(events: Sequence[Event]) -> list[Happening]:
    """The events worth telling, in the same order; of many alike in a row the first few and how many more there are."""
    found: list[Happening] = []
    for one in events:
        if one.operation not in WORDS:
            continue
        alike = [each for each in found[-MOST_ALIKE:] if each.event.operation == one.operation]
        if len(alike) == MOST_ALIKE:
            found[-1] = msgspec.structs.replace(found[-1], more=found[-1].more + 1)
        else:
            found.append(Happening(one, WORDS[one.operation]))
    return found
