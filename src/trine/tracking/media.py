"""Media as files: images, figures, tables, histograms, sound and pages, from what libraries hand out.

Each function gives the file's ending and its bytes. What is equal is stored once, since artifacts are named by content.
"""

from __future__ import annotations

import io
import struct
import wave
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trine.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Media = tuple[str, bytes]
_IMAGES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"<svg": ".svg"}


def image(value: Any) -> Media:
    """An image: a path, the bytes of an image file, a PIL image, or an array (height, width[, 1, 3 or 4]); floats from 0 to 1."""
    if isinstance(value, (str, Path)):
        return Path(value).suffix.lower() or ".png", Path(value).read_bytes()
    if isinstance(value, bytes):
        ending = next((ending for mark, ending in _IMAGES.items() if value.startswith(mark)), None)
        if ending is None:
            raise InvalidInput("These bytes are no PNG, JPEG, GIF, WebP or SVG image.")
        return ending, value
    if hasattr(value, "save") and hasattr(value, "getbands"):  # a PIL image
        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return ".png", buffer.getvalue()
    return ".png", _png(_pixels(value))


def _pixels(value: Any) -> NDArray[np.uint8]:
    import numpy as np

    if hasattr(value, "detach"):  # a torch tensor: channels first
        value = value.detach().cpu().numpy()
        value = value.transpose(1, 2, 0) if value.ndim == 3 and value.shape[0] in (1, 3, 4) else value
    array: NDArray[Any] = np.asarray(value)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InvalidInput(
            f"An image has the shape (height, width) or (height, width, 1, 3 or 4), not {np.shape(value)}."
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise InvalidInput("An image of floats has values from 0 to 1. Scale it, or pass uint8 from 0 to 255.")
        array = np.rint(array * 255)
    elif array.dtype.kind == "b":
        array = array * 255
    elif array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise InvalidInput("An image of integers has values from 0 to 255.")
    return np.ascontiguousarray(array, np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels as a PNG file (ISO/IEC 15948): 8 bits a channel, no filter."""
    height, width, channels = pixels.shape
    color = {1: 0, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 6)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def figure(value: Any) -> Media:
    """A figure: matplotlib's as PNG, plotly's (and what else has `to_html`) as a page."""
    if hasattr(value, "savefig"):
        buffer = io.BytesIO()
        value.savefig(buffer, format="png", metadata={"Software": None})
        return ".png", buffer.getvalue()
    if hasattr(value, "to_html"):
        return ".html", str(value.to_html()).encode()
    raise InvalidInput(f"A figure comes from matplotlib or plotly, not from {type(value).__name__}.")


def table(value: Any) -> Media:
    """A frame (Polars, pandas, Arrow), a mapping of columns or a list of rows, as Parquet."""
    import polars as pl

    try:
        if isinstance(value, pl.LazyFrame):
            frame = value.collect()
        elif isinstance(value, pl.DataFrame):
            frame = value
        elif type(value).__module__.startswith("pandas"):
            frame = pl.DataFrame({str(name): value[name].tolist() for name in value.columns})
        else:
            frame = pl.DataFrame(value)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(f"{type(value).__name__} cannot be read as a table: {error}.") from None
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return ".parquet", buffer.getvalue()


def histogram(values: Any, bins: int) -> Media:
    """Counts of values in equal bins, as JSON with `edges`, `counts` and how many were `nan`; infinities are left out."""
    import numpy as np

    if not 1 <= bins <= 10_000:
        raise InvalidInput(f"A histogram has 1 to 10,000 bins, not {bins}.", argument="bins")
    try:
        array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"A histogram is of numbers: {error}.") from None
    counts, edges = np.histogram(array[np.isfinite(array)], bins=bins)
    made = {"edges": edges.tolist(), "counts": counts.tolist(), "nan": int(np.isnan(array).sum())}
    return ".histogram.json", msgspec.json.encode(made)


def audio(samples: Any, rate: int) -> Media:
    """Sound as WAV: samples (n) or (n, channels), floats from -1 to 1 or int16; or the path of a sound file."""
    if isinstance(samples, (str, Path)):
        return Path(samples).suffix.lower() or ".wav", Path(samples).read_bytes()
    import numpy as np

    array: NDArray[Any] = np.asarray(samples.detach().cpu() if hasattr(samples, "detach") else samples)
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > 32) or not 1 <= rate <= 10_000_000:
        raise InvalidInput(f"Sound is samples (n) or (n, channels) at a rate; not {array.shape} at {rate}.")
    if array.dtype.kind == "f":
        array = np.rint(np.clip(np.nan_to_num(array), -1, 1) * 32767)
    elif array.dtype != np.int16:
        raise InvalidInput(f"Samples of sound are floats from -1 to 1, or int16, not {array.dtype}.")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if array.ndim == 1 else array.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(array, "<i2").tobytes())
    return ".wav", buffer.getvalue()


def path_of(name: str, ending: str, step: int | None) -> str:
    """Where a medium is kept: under its name, one of several steps below it (`confusion/00000012.png`)."""
    bare = name[: -len(ending)] if name.lower().endswith(ending) else name
    return f"{bare}{ending}" if step is None else f"{bare}/{step:08d}{ending}"
