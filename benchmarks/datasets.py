"""Datasets of many small files: Trine against DVC and the raw limits, as cold calls of their command lines.

    python benchmarks/datasets.py [--quick] [--rounds N]
    python benchmarks/datasets.py --million
    python benchmarks/datasets.py --large

20,000 files of 8 KB (--quick: 2,000). Each round starts from nothing: add, status with nothing changed, the same add
again, a comparison of two versions, and a checkout into an empty place. The raw limits are a walk with stat, BLAKE3 over all
files, and a copy of them.

--million is the status of 1,000,000 small files beside a walk with stat, and takes some minutes and 5 GB. --large is one file
of 512 MB of which 1 % is rewritten, in blocks of 64 KB: seconds, and bytes that the store grows by.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

BENCH = Path(__file__).parent.parent / ".bench"
DVC = "dvc==3.67.1"
SIZE = 8 << 10

HASH = """
import os, sys
from blake3 import blake3
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        with open(os.path.join(folder, name), "rb", buffering=0) as file:
            blake3(file.read()).digest()
"""
WALK = """
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        os.stat(os.path.join(folder, name))
"""


def peer() -> Path:
    """DVC in an environment of its own."""
    folder = BENCH / "dvc"
    program = folder / "bin" / "dvc"
    if not program.exists():
        print(f"installing {DVC} into {folder} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", DVC], check=True)
    return program


def make_files(folder: Path, count: int) -> None:
    rng = random.Random(0)
    for number in range(count):
        part = folder / f"part-{number % 100:02d}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number:06d}.bin").write_bytes(rng.randbytes(SIZE))


class Stopwatch:
    """Wall and processor seconds of cold calls, by action and rival."""

    def __init__(self) -> None:
        self.wall: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.cpu: dict[tuple[str, str], list[float]] = defaultdict(list)

    def run(self, action: str, rival: str, *command: str | Path, cwd: Path) -> None:
        before, start = os.times(), time.perf_counter()
        done = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
        after = os.times()
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr.decode()}")
        self.wall[action, rival].append(time.perf_counter() - start)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        self.cpu[action, rival].append(cpu)

    def table(self, action: str) -> None:
        rivals = [rival for one, rival in self.wall if one == action]
        wall = {rival: statistics.median(self.wall[action, rival]) for rival in rivals}
        cpu = {rival: statistics.median(self.cpu[action, rival]) for rival in rivals}
        print(f"\n{action}")
        for rival in rivals:
            told = f"  {rival:<26} {wall[rival]:7.2f} s  {cpu[rival]:7.2f} s processor"
            if "dvc" in wall and rival != "dvc":
                told += f"   {wall[rival] / wall['dvc']:6.3f} x dvc, {cpu[rival] / cpu['dvc']:6.3f} in processor time"
            print(told)


def main(count: int, rounds: int) -> None:
    dvc, trine, python = peer(), Path(sys.executable).with_name("trine"), Path(sys.executable)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="trine-bench-") as root:
        for number in range(rounds):
            ours, theirs, raw = (Path(root, f"{name}-{number}") for name in ("trine", "dvc", "raw"))
            make_files(raw / "data", count)
            for place in (ours, theirs):
                shutil.copytree(raw / "data", place / "data")
            subprocess.run([trine, "init"], cwd=ours, check=True, capture_output=True)
            for setting in (["init", "--no-scm", "-q"], ["config", "core.analytics", "false"]):
                subprocess.run([dvc, *setting], cwd=theirs, check=True, capture_output=True)
            add = (trine, "data", "add", "data", "--name", "bench", "-m", "files")
            watch.run("add", "raw: BLAKE3 of all files", python, "-c", HASH, "data", cwd=raw)
            watch.run("add", "raw: cp -r", "cp", "-r", "data", "copy", cwd=raw)
            watch.run("add", "trine", *add, cwd=ours)
            watch.run("add", "dvc", dvc, "add", "-q", "data", cwd=theirs)
            for _ in range(3):
                watch.run("status, nothing changed", "raw: walk and stat", python, "-c", WALK, "data", cwd=raw)
                watch.run("status, nothing changed", "trine", trine, "data", "status", "data", cwd=ours)
                watch.run("status, nothing changed", "dvc", dvc, "status", "-q", cwd=theirs)
            watch.run("add again, nothing changed", "trine", *add, cwd=ours)
            watch.run("add again, nothing changed", "dvc", dvc, "add", "-q", "data", cwd=theirs)
            watch.run("diff", "trine", trine, "data", "diff", "bench", "bench", cwd=ours)
            watch.run("checkout", "raw: cp -r", "cp", "-r", "data", "copy2", cwd=raw)
            watch.run("checkout", "trine", trine, "data", "checkout", "bench", "out", cwd=ours)
            shutil.rmtree(theirs / "data")
            watch.run("checkout", "dvc", dvc, "checkout", "-q", cwd=theirs)
            for place in (ours, theirs, raw):
                shutil.rmtree(place)
    print(
        f"{count:,} files of {SIZE >> 10} KB, cold calls, medians of {rounds} (status: {3 * rounds}); load {os.getloadavg()[0]:.1f}"
    )
    for action in dict.fromkeys(action for action, _ in watch.wall):
        watch.table(action)
    print("\nTargets: add at most 0.15 x dvc, status at most 0.06 x dvc")


def million() -> None:
    trine, python = Path(sys.executable).with_name("trine"), Path(sys.executable)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="trine-bench-") as root:
        place = Path(root)
        for number in range(1_000):
            folder = place / "data" / f"{number:03d}"
            folder.mkdir(parents=True)
            for name in range(1_000):
                (folder / f"{name}").write_bytes(b"%d/%d" % (number, name))
        subprocess.run([trine, "init"], cwd=place, check=True, capture_output=True)
        watch.run("add", "trine", trine, "data", "add", "data", "--name", "bench", cwd=place)
        for _ in range(3):
            watch.run("status, nothing changed", "raw: walk and stat", python, "-c", WALK, "data", cwd=place)
            watch.run("status, nothing changed", "trine", trine, "data", "status", "data", cwd=place)
    print(f"1,000,000 files, cold calls; load {os.getloadavg()[0]:.1f}")
    for action in dict.fromkeys(action for action, _ in watch.wall):
        watch.table(action)
    print("\nTarget: status in at most 4 s")


def large(size: int = 512 << 20, block: int = 64 << 10) -> None:
    trine, rng = Path(sys.executable).with_name("trine"), random.Random(0)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="trine-bench-") as root:
        place = Path(root)
        store, path = place / ".trine" / "store", place / "data" / "large"
        path.parent.mkdir()
        with path.open("wb") as file:
            for _ in range(size >> 24):
                file.write(rng.randbytes(1 << 24))
        subprocess.run([trine, "init"], cwd=place, check=True, capture_output=True)
        sizes: list[int] = []
        for version in ("first", "second", "third"):
            watch.run(f"add, {version} version", "trine", trine, "data", "add", "data", "--name", "bench", cwd=place)
            watch.run(f"add, {version} version", "raw: cp", "cp", path, place / "copy", cwd=place)
            sizes.append(sum(one.stat().st_size for one in store.rglob("*") if one.is_file()))
            with path.open("r+b") as file:
                for _ in range(size // 100 // block):
                    file.seek(rng.randrange(size // block) * block)
                    file.write(rng.randbytes(block))
        watch.run("checkout", "trine", trine, "data", "checkout", "bench", "out", cwd=place)
    print(f"one file of {size >> 20} MB, cold calls; load {os.getloadavg()[0]:.1f}")
    for action in dict.fromkeys(action for action, _ in watch.wall):
        watch.table(action)
    for version, before, after in (("second", *sizes[:2]), ("third", *sizes[1:])):
        print(
            f"\nThe {version} version, 1 % rewritten: the store grows by {100 * (after - before) / size:.2f} % of the file"
        )
    print("Target: at most 3.5 %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--large", action="store_true")
    asked = parser.parse_args()
    if asked.million or asked.large:
        (million if asked.million else large)()
        sys.exit()
    main(2_000 if asked.quick else 20_000, asked.rounds)
