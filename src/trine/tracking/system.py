"""System metrics: what the machine does while a run trains, sampled by a thread of its own.

    system/cpu_utilization_percentage      system/process_memory_megabytes     system/network_receive_megabytes
    system/system_memory_usage_percentage  system/disk_read_megabytes          system/network_transmit_megabytes
    system/disk_usage_percentage           system/disk_write_megabytes
    system/gpu_0_utilization_percentage    system/gpu_0_memory_usage_percentage   system/gpu_0_power_usage_watts
    system/gpu_utilization_percentage_mean over all cards, from the start of the run until then

Names are MLflow's, where it has them. Traffic counts from the start of the run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from trine.errors import Conflict
from trine.tracking.machines import nvml

log = logging.getLogger("trine.tracking")

EVERY_S = 15.0
"""Seconds between two samples that are logged; cards are asked every second, and the mean since the last sample is logged."""

_MEGA = 1e6
Log = Callable[[dict[str, float]], None]


class Sampler:
    """Samples this machine until it is stopped. What cannot be read is left out; nothing is ever raised into training."""

    def __init__(self, write: Log, *, every_s: float = EVERY_S) -> None:
        self._write = write
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="trine-system", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No sample comes after this returned; safe in the sampling thread and in a forked child."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2)

    def _work(self) -> None:
        try:
            machine, cards = _Machine(), _Cards()
            following = time.monotonic() + self._every_s
            while not self._stop.wait(
                min(1.0, self._every_s) if cards.there else max(0.0, following - time.monotonic())
            ):
                cards.sample()
                if (now := time.monotonic()) < following:
                    continue
                following = now + self._every_s
                values = machine.read() | cards.read()
                if not self._stop.is_set():
                    self._write({f"system/{name}": value for name, value in values.items()})
        except Conflict:
            return  # the run has ended meanwhile
        except Exception:  # a machine that cannot be asked must not disturb a run
            log.warning("System metrics are not sampled any more.", exc_info=True)


class _Machine:
    """Processor, memory, disk and network."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()
        psutil.cpu_percent()  # the first answer is about nothing
        self._begin = self._traffic()

    def _traffic(self) -> dict[str, float]:
        disk, network = self._psutil.disk_io_counters(), self._psutil.net_io_counters()
        found: dict[str, float] = {}
        if disk is not None:
            found |= {"disk_read_megabytes": disk.read_bytes, "disk_write_megabytes": disk.write_bytes}
        if network is not None:  # pyright: ignore[reportUnnecessaryComparison]
            found |= {"network_receive_megabytes": network.bytes_recv, "network_transmit_megabytes": network.bytes_sent}
        return found

    def read(self) -> dict[str, float]:
        memory = self._psutil.virtual_memory()
        return {
            "cpu_utilization_percentage": self._psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGA,
            "system_memory_usage_percentage": memory.percent,
            "process_memory_megabytes": self._process.memory_info().rss / _MEGA,
            "disk_usage_percentage": self._psutil.disk_usage(os.getcwd()).percent,
            **{name: (value - self._begin.get(name, 0)) / _MEGA for name, value in self._traffic().items()},
        }


class _Cards:
    """The NVIDIA cards: their utilisation is summed up second by second, so that its mean is over all of the run."""

    def __init__(self) -> None:
        self._library: Any = nvml()
        count = self._library.nvmlDeviceGetCount() if self._library else 0
        self._handles = [self._library.nvmlDeviceGetHandleByIndex(at) for at in range(count)]
        self._recent: list[list[float]] = [[] for _ in self._handles]
        self._sum, self._samples = 0.0, 0

    @property
    def there(self) -> bool:
        return bool(self._handles)

    def sample(self) -> None:
        for recent, handle in zip(self._recent, self._handles, strict=True):
            busy = float(self._library.nvmlDeviceGetUtilizationRates(handle).gpu)
            recent.append(busy)
            self._sum += busy
            self._samples += 1

    def read(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for at, (recent, handle) in enumerate(zip(self._recent, self._handles, strict=True)):
            memory = self._library.nvmlDeviceGetMemoryInfo(handle)
            found[f"gpu_{at}_utilization_percentage"] = sum(recent) / max(1, len(recent))
            found[f"gpu_{at}_memory_usage_megabytes"] = memory.used / _MEGA
            found[f"gpu_{at}_memory_usage_percentage"] = 100 * memory.used / memory.total
            with contextlib.suppress(Exception):  # not every card tells
                found[f"gpu_{at}_power_usage_watts"] = self._library.nvmlDeviceGetPowerUsage(handle) / 1e3
            recent.clear()
        if self._samples:
            found["gpu_utilization_percentage_mean"] = self._sum / self._samples
        return found
