"""Start-up and install size.

    python benchmarks/startup.py [ROUNDS] [--install]

Start-up is told as a ratio to `python -c pass` (medians, interleaved). With `--install` the base install and the one of
the demo are made in fresh environments under .bench/ and weighed; without it they are weighed by the packages that are
installed here and needed by them, which gives the same figures where the versions are the pinned ones.
"""

from __future__ import annotations

import importlib.metadata as metadata
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
BUDGETS = {"": (500, 60), "demo": (700, None)}
STARTS = {
    "python -c pass": ["-c", "pass"],
    "import trine": ["-c", "import trine"],
    "trine --help": ["-m", "trine.cli", "--help"],
}


def start_up(rounds: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, arguments in STARTS.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - begun)
    floor = statistics.median(taken["python -c pass"])
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"{name:<16} {middle * 1000:7.0f} ms   {middle / floor:5.2f} x   +{(middle - floor) * 1000:.0f} ms")
    print("budget: import trine + 60 ms, trine --help + 150 ms over nothing, on an idle core")


def needed(extra: str) -> dict[str, float]:
    """The packages of an install, each with its size in MB, by what is installed here."""
    sizes: dict[str, float] = {}
    waiting = [("trine", {extra} if extra else set[str]())]
    while waiting:
        name, extras = waiting.pop()
        found = metadata.distribution(name)
        for text in found.requires or []:
            one = Requirement(text)
            if one.marker and not any(one.marker.evaluate({"extra": each}) for each in extras or {""}):
                continue
            key = re.sub(r"[-_.]+", "-", one.name).lower()
            if key not in sizes:
                sizes[key] = weight(key)
                waiting.append((key, set(one.extras)))
    return sizes


def weight(name: str) -> float:
    files = metadata.distribution(name).files or []
    return sum(path.stat().st_size for one in files if (path := Path(str(one.locate()))).is_file()) / 1e6


def fresh(extra: str) -> tuple[float, int]:
    """Megabytes and packages of a fresh install."""
    folder = ROOT / ".bench" / f"install-{extra or 'base'}"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    site = Path(
        subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    )
    before, there = size_of(site), len(list(site.glob("*.dist-info")))
    wanted = f"{ROOT}[{extra}]" if extra else str(ROOT)
    install = [python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), wanted]
    subprocess.run(install, check=True)
    return (size_of(site) - before) / 1e6, len(list(site.glob("*.dist-info"))) - there


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def install_size(really: bool) -> None:
    for extra, (megabytes, most) in BUDGETS.items():
        sizes = needed(extra)
        size, count = fresh(extra) if really else (sum(sizes.values()), len(sizes) + 1)
        print(f"pip install trine{f'[{extra}]' if extra else ''}: {size:.0f} MB (budget {megabytes}), {count} packages"
              + (f" (budget {most})" if most else ""))  # fmt: skip
        if not extra:
            heaviest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
            print("  heaviest: " + ", ".join(f"{name} {each:.0f} MB" for name, each in heaviest))
    print("  peers for the same job (MLflow, DVC, Feast, Dagster, Evidently, BentoML): 2,700 MB, 465 packages")


if __name__ == "__main__":
    rounds = [int(one) for one in sys.argv[1:] if one.isdigit()]
    start_up(rounds[0] if rounds else 15)
    install_size("--install" in sys.argv)
