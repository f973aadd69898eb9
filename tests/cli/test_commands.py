"""All commands, whichever rooms they belong to: help, examples, --json, exit codes, completion."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from trine.cli import COMMANDS, main
from trine.workspace import connect

BLOCKING = {
    "trine data import s3",  # asks the network, again and again
    "trine server",
    "trine ui",
    "trine serve",
    "trine audit tail",
    "trine demo",
    "trine loop run",
    "trine loop watch",
    "trine login",
}
"""They run until they are stopped, start other processes, or need a server: their own tests run them."""


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, f"{context.command_path} {name}"
            yield from walk(found, click.Context(found, info_name=name, parent=context))
    else:
        yield context.command_path, command, context


ALL = list(walk(main, click.Context(main, info_name="trine")))
paths = pytest.mark.parametrize("path", [path for path, _, _ in ALL])
FOUND = {path: (command, context) for path, command, context in ALL}


def run(*arguments: str, input: str = "") -> Result:
    result = CliRunner().invoke(main, arguments, prog_name="trine", input=input, env={"TRINE_DEBUG": ""})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def examples(path: str) -> list[list[str]]:
    """The arguments of each example of a command: what stands before a pipe or another command."""
    lines = getattr(FOUND[path][0].callback, "example", "").splitlines()
    found: list[list[str]] = []
    for line in lines:
        words = shlex.split(line, comments=True)
        for stop in ("|", "&&", ">", ";"):
            words = words[: words.index(stop)] if stop in words else words
        if words[:1] == ["trine"]:
            found.append(words[1:])
    return found


def make_files(words: list[str]) -> None:
    """The files and folders that an example seems to name, here."""
    for word in words:
        if ("/" in word or "." in word) and not word.startswith(("-", "/")) and "://" not in word and " " not in word:
            path = Path(word)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=True) if word.endswith("/") else path.exists() or path.touch()


def test_the_help_of_trine_names_all_commands() -> None:
    told = run("--help").output
    for name, entry in COMMANDS.items():
        assert name in told
        assert entry.help in told
    assert run("--version").output.startswith("trine 0.")


@paths
def test_every_command_has_help_with_an_example_and_json(path: str) -> None:
    told = run(*path.split()[1:], "--help")
    assert told.exit_code == 0
    command, _ = FOUND[path]
    assert "--json" in told.output
    assert "Example" in told.output
    first = (command.help or "").strip().split("\n\n")[0]
    assert first.rstrip().endswith((".", ".)")), f"{path}: {first}"


@paths
def test_every_example_is_a_call_of_its_command(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = [one for one in examples(path) if " ".join(["trine", *one]).startswith(path)]
    assert mine or path == "trine completion", f"{path} has no example of itself"
    command, context = FOUND[path]
    for one in mine:
        rest = one[len(path.split()) - 1 :]
        make_files(rest)
        command.make_context(path.split()[-1], list(rest), parent=context.parent)


@paths
def test_wrong_usage_ends_with_2(path: str) -> None:
    result = run(*path.split()[1:], "--no-such-option")
    assert result.exit_code == 2
    assert "no-such-option" in result.stderr.lower()


def test_unknown_commands_get_the_nearest(folder: Path) -> None:
    for words, nearest in ((["modls"], "models"), (["data", "ad"], "add"), (["access", "token", "crate"], "create")):
        result = run(*words)
        assert result.exit_code == 2
        assert f'Did you mean "{nearest}"' in result.stderr


@paths
def test_without_a_workspace_the_next_command_is_told(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, _ = FOUND[path]
    if path in BLOCKING or not any(one.name == "workspace_location" for one in command.params):
        return
    monkeypatch.chdir(tmp_path)
    for one in examples(path)[:1]:
        make_files(one)
        result = run(*one)
        assert result.exit_code == 3, f"{one}: {result.output}"
        assert "trine init" in result.stderr
        assert list(tmp_path.glob(".trine")) == []


@paths
def test_with_json_every_command_answers_in_json(path: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty workspace: a result on standard output, or an error with its code on standard error. Never both."""
    if path in BLOCKING:
        return
    monkeypatch.chdir(folder)
    for one in examples(path):
        result = run(*one, "--json")
        if result.exit_code == 0:
            json.loads(result.stdout)
        elif result.exit_code == 2 and result.stderr.startswith("Usage:"):
            assert "does not exist" in result.stderr or "Invalid value" in result.stderr, f"{one}: {result.stderr}"
        else:
            assert result.exit_code in (1, 2, 3, 4, 5), f"{one}: {result.output}"
            told = json.loads(result.stderr.strip().splitlines()[-1])["error"]
            assert told["code"] and told["message"]
            assert result.stdout == ""


def test_exit_codes_differ(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert run("access", "add", "user:ana", "--role", "viewer").exit_code == 0
    token = json.loads(run("access", "token", "create", "user:ana", "--json").stdout)["text"]
    assert run("access", "add", "nonsense").exit_code == 2
    assert run("access", "token", "revoke", "0" * 16).exit_code == 3
    monkeypatch.setenv("TRINE_TOKEN", token)
    refused = run("access", "add", "user:ben")
    assert refused.exit_code == 4
    assert "needs the role admin" in refused.stderr
    monkeypatch.setenv("TRINE_TOKEN", "trn_nonsense")
    assert run("access", "ls").exit_code == 4
    monkeypatch.delenv("TRINE_TOKEN")
    assert run("access", "add", "user:ana").exit_code == 5
    with connect(folder) as ws, ws.ledger.transaction(write=True) as connection:
        connection.exec_driver_sql("UPDATE event SET actor = 'user:mallory' WHERE seq = 1")
    damaged = run("audit", "verify", "--json")
    assert damaged.exit_code == 1
    assert json.loads(damaged.stderr)["error"]["details"]["first_bad"] == 1
    assert run("audit", "export", "/nowhere/at/all.jsonl").exit_code == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_every_shell(shell: str) -> None:
    script = run("completion", shell).stdout
    assert "_TRINE_COMPLETE" in script
    assert json.loads(run("completion", shell, "--json").stdout)["script"].strip() == script.strip()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("trine mod", "models"),
        ("trine access tok", "token"),
        ("trine access token c", "create"),
        ("trine lineage --u", "--up"),
    ],
)
def test_completion_offers_what_fits(line: str, offered: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = line.split()
    result = CliRunner().invoke(
        main,
        [],
        prog_name="trine",
        env={"_TRINE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
    )
    assert offered in result.output


def test_every_next_command_of_the_ladder_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trine.insights import standing

    monkeypatch.chdir(tmp_path)
    text = Path(standing.__file__).read_text()
    hints = [re.sub(r"\{[^}]*\}", "name", one) for one in re.findall(r'f?"trine ([^"]+)"', text)]
    assert len(hints) >= 10
    for hint in hints:
        words = hint.replace("FILE.py:NAME", "flow.py:name").split()
        make_files(words)
        depth = next(n for n in (1, 2, 3) if " ".join(["trine", *words[:n]]) in FOUND)
        command, context = FOUND[" ".join(["trine", *words[:depth]])]
        command.make_context(words[depth - 1], words[depth:], parent=context.parent)
