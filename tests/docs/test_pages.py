"""Every page of the documentation is run: what it shows must work as it stands.

The blocks of a page run in order in one fresh folder. A block with a title (```python title="train.py") becomes that
file; a ```python block runs in the page's one namespace; of a ```console block the lines that start with "$ " run in a
shell. A block marked `notest` (a server that blocks, another machine's shell) is only shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')

RUNNER = """
import subprocess, sys
def shell(line):
    print("$", line, flush=True)
    done = subprocess.run(["bash", "-ec", line])
    if done.returncode:
        sys.exit(f"`{line}` ended with {done.returncode}")
"""


def script_of(page: str) -> str:
    """The page as one Python program."""
    lines = [RUNNER]
    for indent, language, info, body in BLOCK.findall(page):
        text = "\n".join(line.removeprefix(indent) for line in body.splitlines())
        if "notest" in info:
            continue
        if title := TITLE.search(info):
            lines += ["import pathlib", f"_path = pathlib.Path({title[1]!r})"]
            lines += ["_path.parent.mkdir(parents=True, exist_ok=True)", f"_path.write_text({text + chr(10)!r})"]
        elif language == "python":
            lines.append(text)
        elif language == "console":
            lines += [f"shell({line[2:]!r})" for line in _commands(text)]
    return "\n".join(lines) + "\n"


def _commands(text: str) -> list[str]:
    """Lines after a prompt; one that ends with a backslash goes on in the next."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_the_page_shows_works(page: Path, tmp_path: Path) -> None:
    script = script_of(page.read_text())
    if script.strip() == RUNNER.strip():
        return
    program = tmp_path / "page.py"
    program.write_text(script)
    folder = tmp_path / "page"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRINE_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = f"{folder}{os.pathsep}{ROOT / 'src'}"
    done = subprocess.run(
        [sys.executable, str(program)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{script}\n--- output\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
