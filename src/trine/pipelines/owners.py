"""Who drives a run: a process, named such that others on the same machine can tell whether it is still there."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

driving: set[str] = set()
"""Runs that this process drives just now: it outlives the runs it began, so its being alive says nothing of them."""


def _machine() -> str:
    """This machine since it was started, and the space its process numbers are in (a container has its own)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:  # not Linux
        boot, space = f"{psutil.boot_time():.0f}", "0"
    return f"{platform.node()}/{boot}/{space}"


def owner() -> str:
    """This process."""
    return f"{_machine()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def is_gone(name: str, run: str) -> bool:
    """Whether the owner of a run is known to be gone; False too when it is on another machine and one cannot know."""
    machine, _, process = name.rpartition("/")
    machine, _, pid = machine.rpartition("/")
    if machine != _machine() or not pid.isdigit():
        return False
    if int(pid) == os.getpid():
        return run not in driving
    try:
        found = psutil.Process(int(pid))
        return f"{found.create_time():.2f}" != process or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def shown(name: str) -> str:
    """An owner for people: process and machine."""
    parts = name.split("/")
    return f"process {parts[-2]} on {parts[0]}" if len(parts) >= 3 else name
