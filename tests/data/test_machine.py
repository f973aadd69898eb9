"""A dataset of files against a plain Python model of it: every order of its verbs gives what the model says."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trine import data
from trine.data import operations as door
from trine.data.changes import Changes
from trine.errors import Conflict, InvalidInput, NotFound
from trine.workspace import connect

Files = dict[str, tuple[bytes, bool]]

paths = st.sampled_from(["a", "b", "ü", "a/a", "a/b", "b/a", "b/a/b", "b/c"])
contents = st.tuples(st.sampled_from([b"", b"one", b"two", b"three"]), st.booleans())
names = st.sampled_from(["main", "main", "try", "try", "v1", "v2"])


def parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def difference(before: Files, after: Files) -> Changes:
    return Changes(
        sorted(after.keys() - before.keys()),
        sorted(before.keys() - after.keys()),
        sorted(path for path in before.keys() & after.keys() if before[path] != after[path]),
    )


class DatasetMachine(RuleBasedStateMachine):
    template: Path

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="trine-machine-"))
        (self.root / ".trine").mkdir()
        shutil.copy(self.template, self.root / ".trine" / "ledger.db")
        self.ws = connect(self.root)
        self.folder = self.root / "in"
        self.folder.mkdir()
        self.work: Files = {}
        self.base = ""  # the commit that the folder is, as far as it knows
        self.commits: dict[str, tuple[Files, str]] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.write("a/a", (b"one", False))
        self.add("main", force=False, tag="v1")
        self.branch("try", "main")

    def teardown(self) -> None:
        if hasattr(self, "ws"):
            assert self.ws.store.verify() == []  # type: ignore[attr-defined]
            self.ws.close()
            shutil.rmtree(self.root)

    @property
    def committed(self) -> Files:
        return self.commits[self.base][0] if self.base else {}

    def find(self, name: str) -> str | None:
        return self.branches.get(name) or self.tags.get(name)

    # -- the folder

    @rule(path=paths, content=contents)
    def write_file(self, path: str, content: tuple[bytes, bool]) -> None:
        self.write(path, content)

    @rule(first=paths, second=paths, content=contents)
    def write_files(self, first: str, second: str, content: tuple[bytes, bool]) -> None:
        self.write(first, content)
        self.write(second, content)

    def write(self, path: str, content: tuple[bytes, bool]) -> None:
        for other in [one for one in self.work if one in parents(path) or path in parents(one)]:
            self.remove(other)
        target = self.folder / path
        if target.is_dir():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content[0])
        target.chmod(0o755 if content[1] else 0o644)
        self.work[path] = content

    @precondition(lambda self: self.work)
    @rule(pick=st.randoms(use_true_random=False))
    def delete(self, pick: object) -> None:
        self.remove(pick.choice(sorted(self.work)))  # type: ignore[attr-defined]

    def remove(self, path: str) -> None:
        (self.folder / path).unlink()
        del self.work[path]

    # -- the verbs

    @rule(branch=names, force=st.booleans(), tag=st.sampled_from(["", "", "v1", "v2"]))
    def add_it(self, branch: str, force: bool, tag: str) -> None:
        self.add(branch, force, tag)

    @rule(path=paths, content=contents, branch=names)
    def change_and_add(self, path: str, content: tuple[bytes, bool], branch: str) -> None:
        self.write(path, content)
        self.add(branch, force=False, tag="")

    def add(self, branch: str, force: bool, tag: str) -> None:
        def add() -> data.Commit:
            return data.add(self.folder, name="x", branch=branch, force=force, tag=tag, ws=self.ws)

        head = self.branches.get(branch, "")
        if not self.work:
            with pytest.raises(InvalidInput, match="no files"):
                add()
        elif head and self.commits[head][0] == self.work:
            if tag in self.branches or self.tags.get(tag, head) != head:
                with pytest.raises(Conflict):
                    add()
                return
            assert add().id == head
            self.base = head
            if tag:
                self.tags[tag] = head
        elif head and self.base not in ("", head) and not force:
            with pytest.raises(Conflict, match="has moved"):
                add()
        elif branch in self.tags:
            with pytest.raises(Conflict, match="not a branch"):
                add()
        elif not head and self.branches:
            with pytest.raises(NotFound, match="Start it first"):
                add()
        elif tag and (tag in self.branches or tag in self.tags or tag == branch):
            with pytest.raises(Conflict, match="already"):
                add()
        else:
            made = add()
            assert made.parents == ([head] if head else [])
            assert (made.files, made.size_bytes) == (len(self.work), sum(len(one) for one, _ in self.work.values()))
            self.commits[made.id] = (dict(self.work), head)
            self.branches[branch] = self.base = made.id
            if tag:
                self.tags[tag] = made.id

    @rule(name=names, ref=names, move=st.booleans())
    def tag(self, name: str, ref: str, move: bool) -> None:
        found = self.find(ref)
        if found is None:
            with pytest.raises(NotFound):
                data.dataset("x", ws=self.ws).tag(name, ref, move=move)
        elif name in self.branches or (self.tags.get(name, found) != found and not move):
            with pytest.raises(Conflict):
                data.dataset("x", ws=self.ws).tag(name, ref, move=move)
        else:
            assert data.dataset("x", ws=self.ws).tag(name, ref, move=move).id == found
            self.tags[name] = found

    @rule(name=names, ref=names)
    def start_branch(self, name: str, ref: str) -> None:
        self.branch(name, ref)

    def branch(self, name: str, ref: str) -> None:
        found = self.find(ref)
        if found is None:
            with pytest.raises(NotFound):
                data.dataset("x", ws=self.ws).branch(name, ref)
        elif self.find(name):
            with pytest.raises(Conflict):
                data.dataset("x", ws=self.ws).branch(name, ref)
        else:
            assert data.dataset("x", ws=self.ws).branch(name, ref).id == found
            self.branches[name] = found

    @rule(name=st.sampled_from(["try", "v1", "v2"]))
    def delete_ref(self, name: str) -> None:
        if self.find(name) is None:
            with pytest.raises(NotFound):
                door.delete_ref(self.ws, name="x", ref=name)
        else:
            door.delete_ref(self.ws, name="x", ref=name)
            self.branches.pop(name, None)
            self.tags.pop(name, None)

    @rule(ref=names, force=st.booleans())
    def checkout_it(self, ref: str, force: bool) -> None:
        self.checkout(ref, force)

    def checkout(self, ref: str, force: bool) -> None:
        found = self.find(ref)
        if found is None:
            with pytest.raises(NotFound):
                data.checkout(f"x@{ref}", self.folder, force=force, ws=self.ws)
            return
        wanted = self.commits[found][0]
        needed = {parent for path in wanted for parent in parents(path)}
        gone = [
            path
            for path in self.work
            if path not in wanted
            and (path in self.committed or path in needed or any(one in wanted for one in parents(path)))
        ]
        late = [path for path in wanted if path in self.work and self.work[path] != wanted[path]]
        if any(self.work[path] != self.committed.get(path) for path in (*gone, *late)) and not force:
            with pytest.raises(Conflict, match="would be lost"):
                data.checkout(f"x@{ref}", self.folder, ws=self.ws)
            return
        data.checkout(f"x@{ref}", self.folder, force=force, ws=self.ws)
        self.work = {**{path: one for path, one in self.work.items() if path not in gone}, **wanted}
        self.base = found

    @rule(one=names, two=names)
    def diff(self, one: str, two: str) -> None:
        before, after = self.find(one), self.find(two)
        if before is None or after is None:
            with pytest.raises(NotFound):
                data.diff(f"x@{one}", f"x@{two}", ws=self.ws)
        else:
            told = data.diff(f"x@{one}", f"x@{two}", ws=self.ws)
            assert told.files == difference(self.commits[before][0], self.commits[after][0])

    @rule(ref=names)
    def log(self, ref: str) -> None:
        found = self.find(ref)
        if found is None:
            with pytest.raises(NotFound):
                data.dataset("x", ws=self.ws).log(ref)
            return
        history = []
        while found:
            history.append(found)
            found = self.commits[found][1]
        assert [one.id for one in data.dataset("x", ws=self.ws).log(ref)] == history
        assert data.resolve(f"x@{ref}~{len(history) - 1}", ws=self.ws).id == history[-1]
        with pytest.raises(NotFound):
            data.resolve(f"x@{ref}~{len(history)}", ws=self.ws)

    @rule(ref=names, path=paths, content=contents)
    def reopen_change_and_checkout(self, ref: str, path: str, content: tuple[bytes, bool]) -> None:
        self.ws.close()
        self.ws = connect(self.root)
        self.write(path, content)
        self.checkout(ref, force=False)

    # -- what always holds

    @invariant()
    def the_folder_is_what_the_model_says(self) -> None:
        if not hasattr(self, "ws"):
            return
        here = {
            path.relative_to(self.folder).as_posix(): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        assert here == self.work
        if self.base:
            assert data.status(self.folder, ws=self.ws).changes == difference(self.committed, self.work)

    @invariant()
    def the_refs_are_what_the_model_says(self) -> None:
        if hasattr(self, "ws") and self.commits:
            told = door.get_dataset(self.ws, name="x")
            assert (told.branches, told.tags) == (self.branches, self.tags)


def test_a_dataset_does_what_its_model_does(sqlite_template: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    DatasetMachine.template = sqlite_template
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        DatasetMachine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
