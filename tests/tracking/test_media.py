from __future__ import annotations

import io
import json
import sys
import threading
import types
import wave
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import trine
from trine import tracking
from trine.errors import InvalidInput
from trine.tracking import machines, media
from trine.tracking.system import Sampler
from trine.workspace import Workspace


def read(run: object, path: str) -> bytes:
    return tracking.read_artifact(run, path)  # type: ignore[arg-type]


def test_media_are_kept_as_files_of_their_kind(ws: Workspace) -> None:
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    with trine.run() as run:
        run.log_image(pixels, "plots/confusion")
        run.log_image(pixels / 255.0, "same.png")
        run.log_image(pixels, "steps", step=3)
        run.log_table({"x": [1, 2], "y": ["a", None]}, "answers")
        run.log_histogram([1.0, 2.0, 2.5, float("nan"), float("inf")], "weights", step=0, bins=3)
        run.log_audio(np.sin(np.linspace(0, 100, 800)), "tone", rate=8_000)
        run.log_html("<h1>hi</h1>", "report")
    files = {one.path: one.hash for one in tracking.artifacts(run)}
    assert set(files) == {
        "plots/confusion.png", "same.png", "steps/00000003.png", "answers.parquet", "weights/00000000.histogram.json",
        "tone.wav", "report.html",
    }  # fmt: skip
    assert files["plots/confusion.png"] == files["same.png"] == files["steps/00000003.png"]  # equal bytes, stored once
    assert pl.read_parquet(io.BytesIO(read(run, "answers.parquet"))).to_dict(as_series=False) == {
        "x": [1, 2], "y": ["a", None],
    }  # fmt: skip
    told = json.loads(read(run, "weights/00000000.histogram.json"))
    assert told == {"edges": [1.0, 1.5, 2.0, 2.5], "counts": [1, 0, 2], "nan": 1}
    with wave.open(io.BytesIO(read(run, "tone.wav"))) as sound:
        assert (sound.getframerate(), sound.getnframes(), sound.getnchannels()) == (8_000, 800, 1)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 3), (1, 1, 4)])
def test_an_image_comes_back_pixel_by_pixel(shape: tuple[int, ...]) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    ending, content = media.image(pixels)
    back = np.asarray(Image.open(io.BytesIO(content)))
    assert ending == ".png" and (back.reshape(shape) == pixels).all()
    assert media.image(Image.fromarray(pixels.squeeze()))[0] == ".png" and media.image(content) == (".png", content)


def test_figures_and_frames_of_other_libraries_are_taken(tmp_path: Path) -> None:
    import matplotlib
    import pandas as pd

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    ending, content = media.figure(figure)
    plt.close(figure)
    assert ending == ".png" and content.startswith(b"\x89PNG") and media.figure(figure)[1] == content
    plotly = types.SimpleNamespace(to_html=lambda: "<html></html>")
    assert media.figure(plotly) == (".html", b"<html></html>")
    frame = pl.read_parquet(io.BytesIO(media.table(pd.DataFrame({"a": [1, 2]}))[1]))
    assert frame.to_dict(as_series=False) == {"a": [1, 2]}
    (tmp_path / "a.JPG").write_bytes(b"x")
    assert media.image(tmp_path / "a.JPG") == (".jpg", b"x")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: media.image(np.zeros((2, 2, 2))), "has the shape"),
        (lambda: media.image(np.full((2, 2), 7.0)), "from 0 to 1"),
        (lambda: media.image(np.full((2, 2), 300)), "from 0 to 255"),
        (lambda: media.image(b"nothing"), "no PNG"),
        (lambda: media.figure(object()), "matplotlib or plotly"),
        (lambda: media.table(object()), "cannot be read as a table"),
        (lambda: media.histogram(["a"], 3), "is of numbers"),
        (lambda: media.histogram([1], 0), "bins"),
        (lambda: media.audio(np.zeros((2, 2, 2)), 8000), "Sound is samples"),
        (lambda: media.audio(np.zeros(2, np.int64), 8000), "int16"),
    ],
)
def test_what_is_no_medium_is_refused(make: object, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        make()  # type: ignore[operator]


class Cards(types.ModuleType):
    """Two cards as NVIDIA's library shows them: one half busy, one idle."""

    def __init__(self) -> None:
        super().__init__("pynvml")

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, at: int) -> int:
        return at

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"Card %d" % handle

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.1"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 13010

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> object:
        return types.SimpleNamespace(gpu=50 if handle == 0 else 0)

    def nvmlDeviceGetMemoryInfo(self, _: int) -> object:
        return types.SimpleNamespace(used=25e6, total=100e6)

    def nvmlDeviceGetPowerUsage(self, _: int) -> int:
        return 250_000


def samples_of(count: int) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    enough = threading.Event()

    def write(values: dict[str, float]) -> None:
        found.append(values)
        if len(found) >= count:
            enough.set()

    sampler = Sampler(write, every_s=0.01)
    assert enough.wait(30)
    sampler.stop()
    after = len(found)
    assert not sampler._thread.is_alive() and len(found) == after  # pyright: ignore[reportPrivateUsage]
    return found


def test_the_machine_is_sampled_beside_the_run() -> None:
    for values in samples_of(3):
        assert 0 <= values["system/cpu_utilization_percentage"] <= 100 and values["system/process_memory_megabytes"] > 1
        assert {"system/network_receive_megabytes", "system/disk_usage_percentage"} <= set(values)


def test_cards_are_sampled_with_the_mean_over_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Cards())
    last = samples_of(3)[-1]
    assert last["system/gpu_0_utilization_percentage"] == 50 and last["system/gpu_1_power_usage_watts"] == 250
    assert last["system/gpu_utilization_percentage_mean"] == 25 and last["system/gpu_0_memory_usage_percentage"] == 25
    assert machines.describe_gpus() == ["driver 580.1, CUDA 13.1", "Card 0", "Card 1"]


def test_a_run_samples_until_it_ends(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with trine.run(system_s=0.01) as run:
        while "system/cpu_utilization_percentage" not in tracking.get_run(run).metrics:
            pass
        with trine.run() as child:
            assert child._sampler is None  # pyright: ignore[reportPrivateUsage]
    assert tracking.get_run(run).metrics["system/system_memory_usage_percentage"].last > 0

    def broken(_: object) -> None:
        raise OSError("no /proc here")

    monkeypatch.setattr("trine.tracking.system._Machine.__init__", broken)
    with trine.run(system_s=0.01) as quiet:
        quiet._sampler._thread.join(30)  # type: ignore[union-attr]
        quiet.log("loss", 1.0)
    assert set(tracking.get_run(quiet).metrics) == {"loss"}


def test_runs_show_themselves_in_a_notebook(local_ws: Workspace) -> None:
    with trine.run("x", name="<b>", params={"lr": 1}) as run:
        run.log("loss", 0.25)
        assert "&lt;b&gt;" in run._repr_html_()
    page = tracking.get_run(run)._repr_html_()
    assert "&lt;b&gt;" in page and "0.25" in page and "finished" in page and "lr" in page
    with trine.run("x", params={"lr": 2}) as other:
        pass
    assert "<td>2</td>" in tracking.compare(run, other)._repr_html_()
