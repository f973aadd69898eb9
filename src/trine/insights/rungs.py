"""The ladder: how far a model has come from a notebook to a system that keeps itself true, with evidence for each rung."""

from __future__ import annotations

from typing import Literal

import msgspec

from trine.insights.repository import Repository

Phase = Literal["start", "devops", "foundation", "automation", "monitoring", "optimisation"]

PHASES: dict[Phase, str] = {
    "devops": "code is versioned and tested by a machine",
    "foundation": "runs, data, code and models are versioned and connected",
    "automation": "a pipeline makes candidates, a gate decides, triggers start it",
    "monitoring": "what is served is watched, and what is seen starts the loop",
    "optimisation": "features are shared, and versions are compared on real traffic",
}
"""The phases in order; a model has reached one when all of its rungs and those below are there."""


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a phase asks for: whether it is there, what shows it, and what to type when it is not."""

    phase: Phase
    name: str
    reached: bool
    evidence: str = ""
    node: str = ""
    next: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where one model stands: `version` is the one in production, or else the newest."""

    model: str
    version: int
    rungs: list[Rung]

    @property
    def phase(self) -> Phase:
        """The highest phase of which nothing is missing, and nothing below."""
        reached: Phase = "start"
        for phase in PHASES:
            asked = [one.reached for one in self.rungs if one.phase == phase]
            if not asked or not all(asked):
                break
            reached = phase
        return reached

    @property
    def missing(self) -> list[Rung]:
        return [one for one in self.rungs if not one.reached]

    @property
    def next(self) -> str:
        """The one command to type next, or nothing at the top."""
        return self.missing[0].next if self.missing else ""


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """Where each model of a workspace stands. `repository` is the root of the git work tree that was looked at, if any."""

    repository: str
    models: list[Standing]


def reached(phase: Phase, name: str, evidence: str, node: str = "") -> Rung:
    """A rung that is there."""
    return Rung(phase=phase, name=name, reached=True, evidence=evidence, node=node)


def missing(phase: Phase, name: str, next: str) -> Rung:
    """A rung that is not there, with what to type for it."""
    return Rung(phase=phase, name=name, reached=False, next=next)


def rungs_of(repository: Repository | None) -> list[Rung]:
    """What comes before machine learning: version control, tests and continuous integration."""
    commits = ""
    if repository:
        count = len(repository.commits)
        commits = f"{count:,} commit{'s' if count > 1 else ''}, HEAD {repository.head[:12]}"
    found = {
        "git": (commits, "git init && git add . && git commit -m 'Start'"),
        "tests": (
            _listed(repository.test_files if repository else []),
            "mkdir -p tests && $EDITOR tests/test_training.py",
        ),
        "continuous integration": (
            _listed(repository.ci_files if repository else []),
            "mkdir -p .github/workflows && $EDITOR .github/workflows/test.yml",
        ),
    }
    return [
        reached("devops", name, evidence) if evidence else missing("devops", name, command)
        for name, (evidence, command) in found.items()
    ]


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")
