"""The registry against a plain model of it: any calls in any order leave both with the same versions, aliases and stages."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from estimators import numbers
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from trine import models
from trine.errors import Conflict, NotFound, TrineError
from trine.models import operations as door
from trine.operations import every
from trine.workspace import connect, using

NAMES = st.sampled_from(["a", "b"])
ALIASES = st.sampled_from(["production", "challenger"])
STAGES = st.sampled_from(["", "Staging", "Production", "Archived"])
NUMBERS = st.integers(1, 4)


def hour(rows: Any) -> Any:
    return rows["hour"]


class Plain:
    """One model as dicts and lists."""

    def __init__(self) -> None:
        self.last = 0
        self.there = False
        self.gone = False
        self.stages: dict[int, str] = {}
        self.moves: dict[str, list[int | None]] = {}
        """Where an alias points, and before that, without what was rolled back."""

    @property
    def aliases(self) -> dict[str, int]:
        return {alias: past[-1] for alias, past in self.moves.items() if past and past[-1] is not None}


class Registry(RuleBasedStateMachine):
    template: Path

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        root = self.folder / ".trine"
        root.mkdir()
        shutil.copy(self.template, root / "ledger.db")
        self.ws = connect(self.folder)
        self.inside = using(self.ws)
        self.inside.__enter__()
        first = models.register(hour, "seed", inputs=numbers(3))
        self.artifact = first.artifact
        self.plain: dict[str, Plain] = {"a": Plain(), "b": Plain()}

    def teardown(self) -> None:
        if hasattr(self, "ws"):
            self.inside.__exit__(None, None, None)
            self.ws.close()
            shutil.rmtree(self.folder)

    def refused(self, call: Any, *kinds: type[TrineError], **values: Any) -> None:
        with pytest.raises(kinds):
            call(self.ws, **values)

    @rule(name=NAMES)
    def register(self, name: str) -> None:
        one = self.plain[name]
        one.last, one.there = one.last + 1, True
        one.stages[one.last] = ""
        assert door.register_version(self.ws, name=name, artifact=self.artifact).version == one.last

    @rule(name=NAMES, alias=ALIASES, version=NUMBERS, expect=st.none() | st.integers(0, 4))
    def promote(self, name: str, alias: str, version: int, expect: int | None) -> None:
        one, values = self.plain[name], {"name": name, "alias": alias, "version": version, "expect": expect}
        if not one.there or version not in one.stages:
            self.refused(door.promote_model, NotFound, Conflict, **values)
        elif expect is not None and expect != one.aliases.get(alias, 0):
            self.refused(door.promote_model, Conflict, **values)
        else:
            door.promote_model(self.ws, **values)
            past = one.moves.setdefault(alias, [])
            if not past or past[-1] != version:
                past.append(version)

    @rule(name=NAMES, alias=ALIASES)
    def roll_back(self, name: str, alias: str) -> None:
        one = self.plain[name]
        past = one.moves.get(alias, [])
        earlier = next((at for at in reversed(past) if at not in (None, past[-1])), None)
        if not one.there or not past:
            self.refused(door.rollback_alias, NotFound, name=name, alias=alias)
        elif earlier is None or earlier not in one.stages:
            self.refused(door.rollback_alias, Conflict, name=name, alias=alias)
        else:
            assert door.rollback_alias(self.ws, name=name, alias=alias).version == earlier
            while past[-1] != earlier:
                past.pop()

    @rule(name=NAMES, alias=ALIASES)
    def remove_alias(self, name: str, alias: str) -> None:
        one = self.plain[name]
        if not one.there or alias not in one.aliases:
            self.refused(door.remove_alias, NotFound, name=name, alias=alias)
        else:
            door.remove_alias(self.ws, name=name, alias=alias)
            one.moves[alias].append(None)

    @rule(name=NAMES, version=NUMBERS)
    def delete_version(self, name: str, version: int) -> None:
        one = self.plain[name]
        if not one.there or version not in one.stages:
            self.refused(door.delete_version, NotFound, name=name, version=version)
        elif version in one.aliases.values():
            self.refused(door.delete_version, Conflict, name=name, version=version)
        else:
            door.delete_version(self.ws, name=name, version=version)
            del one.stages[version]

    @rule(name=NAMES, version=NUMBERS, stage=STAGES, alone=st.booleans())
    def set_stage(self, name: str, version: int, stage: str, alone: bool) -> None:
        one, values = self.plain[name], {"name": name, "version": version, "stage": stage, "alone": alone}
        if not one.there or version not in one.stages:
            self.refused(door.set_stage, NotFound, **values)
            return
        assert door.set_stage(self.ws, **values).stage == stage
        if alone and stage:
            others = [each for each, at in one.stages.items() if at == stage and each != version]
            one.stages |= dict.fromkeys(others, "" if stage == "Archived" else "Archived")
        one.stages[version] = stage

    @rule(name=NAMES)
    def delete_model(self, name: str) -> None:
        one = self.plain[name]
        if not one.there:
            self.refused(door.delete_model, NotFound, name=name)
        elif one.aliases:
            self.refused(door.delete_model, Conflict, name=name)
        else:
            door.delete_model(self.ws, name=name)
            one.there, one.gone, one.stages = False, True, {}

    @rule()
    def rename(self) -> None:
        first, second = self.plain["a"], self.plain["b"]
        if not first.there:
            self.refused(door.rename_model, NotFound, name="a", new_name="b")
        elif second.last:  # there, or gone with its numbers
            self.refused(door.rename_model, Conflict, name="a", new_name="b")
        else:
            door.rename_model(self.ws, name="a", new_name="b")
            left = Plain()
            left.last, left.gone = first.last, True
            self.plain = {"a": left, "b": first}

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "plain"):
            return
        there = {name for name, one in self.plain.items() if one.there}
        assert {one.name for one in door.list_models(self.ws).items} == there | {"seed"}
        for name in there:
            one = self.plain[name]
            found = door.get_model(self.ws, name=name)
            assert (found.versions, found.aliases) == (len(one.stages), one.aliases)
            versions = list(every(door.list_versions, self.ws, name=name))
            assert {each.version: each.stage for each in versions} == one.stages
            for each in versions:
                assert set(each.aliases) == {alias for alias, at in one.aliases.items() if at == each.version}
            newest = {at: max(v for v, s in one.stages.items() if s == at) for at in set(one.stages.values())}
            assert {each.stage: each.version for each in door.latest_versions(self.ws, name=name)} == newest


def test_the_registry_is_what_a_plain_model_of_it_is(sqlite_template: Path) -> None:
    Registry.template = sqlite_template
    run_state_machine_as_test(Registry, settings=settings(max_examples=12, stateful_step_count=25, deadline=None))
