"""The accelerators of this machine, by NVIDIA's library, where both are there."""

from __future__ import annotations

from typing import Any


def nvml() -> Any:
    """NVIDIA's management library, ready to be asked, or None where there is no card or the library is not installed."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

        pynvml.nvmlInit()
    except Exception:  # no library, no driver, no rights: all mean that there is nothing to see
        return None
    return pynvml


def describe_gpus() -> list[str]:
    """The driver and the name of each card; empty without one."""
    library = nvml()
    if library is None:
        return []
    try:
        count = library.nvmlDeviceGetCount()
        names = [_text(library.nvmlDeviceGetName(library.nvmlDeviceGetHandleByIndex(at))) for at in range(count)]
        cuda = library.nvmlSystemGetCudaDriverVersion_v2()
        driver = f"driver {_text(library.nvmlSystemGetDriverVersion())}, CUDA {cuda // 1000}.{cuda % 1000 // 10}"
        return [driver, *names]
    except Exception:  # a driver that does not answer: a run must not fail for it
        return []


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
