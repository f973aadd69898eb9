"""The scan at registration, against files that were made to do harm: each is refused, and what is wrong with it is named."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import lightgbm
import msgspec
import numpy as np
import polars as pl
import pytest
import xgboost
from estimators import labels, numbers
from safetensors.numpy import save as save_tensors
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from trine import models
from trine.errors import InvalidInput
from trine.ids import canonical_json
from trine.models import operations as door
from trine.models.artifact import FORMAT, write_artifact
from trine.models.flavors import flavors
from trine.models.scanning import scan
from trine.models.versions import Manifest, Stored
from trine.workspace import Workspace

FRAME = numbers(40)
SKOPS = flavors()["sklearn"].save(LogisticRegression().fit(FRAME, labels(FRAME)))["model.skops"]
XGB = flavors()["xgboost"].save(
    xgboost.XGBRegressor(n_estimators=2, max_depth=2).fit(FRAME.cast({"holiday": pl.Float64}).to_numpy(), FRAME["hour"])
)
MANY = numbers(300).cast({"holiday": pl.Float64})
LGB = flavors()["lightgbm"].save(lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(MANY.to_numpy(), MANY["hour"]))


class Reduce:
    def __init__(self, *what: Any) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        return self.what


def manifest(flavor: str, names: Any, **more: Any) -> Manifest:
    signature = models.Signature((models.Field("x", "float64"),))
    return Manifest(FORMAT, flavor, tuple(Stored(name, "0" * 64, 1) for name in names), signature, {}, **more)


def refuse(flavor: str, files: dict[str, bytes], **more: Any) -> str:
    with pytest.raises(InvalidInput) as refused:
        scan(manifest(flavor, files, **more), files)
    return refused.value.message


def repacked(change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None] | None = None, **add: Any) -> bytes:
    """The skops file, with a change to each member and some more of them."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(SKOPS)) as source, zipfile.ZipFile(out, "w") as target:
        for one in source.infolist():
            data = source.read(one)
            if change is None:
                target.writestr(one.filename, data)
            else:
                change(target, one, data)
        for name, data in add.items():
            target.writestr(name, data)
    return out.getvalue()


def member(name: str, data: bytes = b"x", mode: int = 0) -> bytes:
    out = io.BytesIO(repacked())
    with zipfile.ZipFile(out, "a") as target:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        target.writestr(info, data)
    return out.getvalue()


def zipped(data: bytes, name: str = "a.pkl") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def tarred(name: str, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        if link:
            info.type, info.linkname = tarfile.SYMTYPE, link
        archive.addfile(info)
    return out.getvalue()


def array(values: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, values, allow_pickle=True)
    return out.getvalue()


def replaced(data: bytes) -> bytes:
    """The skops file with one of its arrays replaced."""

    def change(target: zipfile.ZipFile, one: zipfile.ZipInfo, old: bytes) -> None:
        target.writestr(one.filename, data if one.filename.endswith(".npy") else old)

    return repacked(change)


def schema(change: Callable[[Any], None]) -> bytes:
    def edit(target: zipfile.ZipFile, one: zipfile.ZipInfo, old: bytes) -> None:
        if one.filename == "schema.json":
            found = json.loads(old)
            change(found)
            old = json.dumps(found).encode()
        target.writestr(one.filename, old)

    return repacked(edit)


def renamed_inside() -> bytes:
    name = next(one for one in zipfile.ZipFile(io.BytesIO(SKOPS)).namelist() if one.endswith(".npy")).encode()
    return SKOPS.replace(name, b"evil" + name[4:], 1)


def encrypted() -> bytes:
    data = bytearray(SKOPS)
    data[6] |= 1
    return bytes(data)


def duplicated() -> bytes:
    out = io.BytesIO(SKOPS)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(out, "a") as target:
        target.writestr("schema.json", b"{}")
    return out.getvalue()


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("schema.json", b'"' + b" " * (80 << 20) + b'"')
    return out.getvalue()


EVIL = pickle.dumps(Reduce(os.system, ("true",)))

SHAPES: dict[str, Callable[[], bytes]] = {
    "a pickle under the model's name": lambda: EVIL,
    "an old pickle": lambda: b"cos\nsystem\n(S'true'\ntR.",
    "a pickle in gzip": lambda: gzip.compress(EVIL),
    "a pickle in bzip2": lambda: bz2.compress(EVIL),
    "a pickle in xz": lambda: lzma.compress(EVIL),
    "a pickle in zip": lambda: zipped(EVIL),
    "the model in gzip": lambda: gzip.compress(SKOPS),
    "the model in a zip": lambda: zipped(SKOPS, "model.skops"),
    "a tar with a symlink": lambda: tarred("model.skops", "/etc/passwd"),
    "a tar that climbs out": lambda: tarred("../../evil"),
    "an ELF binary": lambda: b"\x7fELF" + bytes(100),
    "a Windows binary": lambda: b"MZ" + bytes(100),
    "a script": lambda: b"#!/bin/sh\nrm -rf /\n",
    "an HDF5 file": lambda: b"\x89HDF\r\n\x1a\n" + bytes(64),
    "nothing": lambda: b"",
    "a torn archive": lambda: SKOPS[: len(SKOPS) // 2],
    "a pickle before the archive": lambda: EVIL + SKOPS,
    "a pickle behind the archive": lambda: SKOPS + EVIL,
    "a comment in the archive": lambda: SKOPS[:-2] + struct.pack("<H", 4) + b"evil",
    "a member of another name inside": renamed_inside,
    "an encrypted member": encrypted,
    "two members of one name": duplicated,
    "a member that climbs out": lambda: member("../evil.npy"),
    "a member with an absolute name": lambda: member("/etc/evil.npy"),
    "a member with a backslash": lambda: member("..\\evil.npy"),
    "a member in a folder": lambda: member("folder/evil.npy"),
    "a member that is a symlink": lambda: member("link.npy", b"/etc/passwd", stat.S_IFLNK | 0o777),
    "a member that is a device": lambda: member("dev.npy", b"", stat.S_IFCHR | 0o666),
    "a member that is a folder": lambda: member("folder/"),
    "a member that is a pickle": lambda: member("data.pkl", EVIL),
    "a member that is code": lambda: member("sitecustomize.py", b"import os"),
    "a member that is a library": lambda: member("evil.so", b"\x7fELF"),
    "a zip in the archive": lambda: member("inner.zip", zipped(EVIL)),
    "a pickle under an array's name": lambda: replaced(EVIL),
    "a zip under an array's name": lambda: replaced(zipped(EVIL)),
    "gzip under an array's name": lambda: replaced(gzip.compress(EVIL)),
    "an array of objects": lambda: replaced(array(np.array([Reduce(os.system, ("true",))], dtype=object))),
    "an array that is shorter than it says": lambda: replaced(array(np.zeros(9))[:-8]),
    "an array that is longer than it says": lambda: replaced(array(np.zeros(9)) + EVIL),
    "an array that nobody uses": lambda: member("unused.npy", array(np.zeros(1))),
    "bytes that hide a pickle": lambda: member("evil.bin", EVIL),
    "a sparse array with a pickle in it": lambda: member("evil.npz", zipped(EVIL, "data.npy")),
    "an archive that unpacks to far more": bomb,
    "an archive without a schema": lambda: zipped(array(np.zeros(2)), "a.npy"),
    "a schema that is no JSON": lambda: zipped(b"{", "schema.json"),
    "a schema that names os.system": lambda: schema(lambda one: one.update(__module__="os", __class__="system")),
    "a schema that names subprocess": lambda: schema(
        lambda one: one.update(__module__="subprocess", __class__="Popen")
    ),
    "a schema that names eval": lambda: schema(lambda one: one.update(__module__="builtins", __class__="eval")),
    "a schema that names its own class": lambda: schema(lambda one: one.update(__module__="evil", __class__="Model")),
    "a schema that names a loader of its own": lambda: schema(lambda one: one.update(__loader__="EvilNode")),
    "a schema that names a function": lambda: schema(
        lambda one: one["content"].update(
            evil={"__loader__": "FunctionNode", "__module__": "posix", "__class__": "system", "content": 1}
        )
    ),
    "a schema that reads another file": lambda: schema(
        lambda one: one["content"].update(evil={"file": "../../etc/passwd"})
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hostile_shape_is_refused_by_name(shape: str) -> None:
    message = refuse("sklearn", {"model.skops": SHAPES[shape]()})
    assert message.startswith("The model is refused") and len(message) < 600


@pytest.mark.parametrize(
    "name",
    [
        "../model.skops", "/model.skops", "a/../../b", "a\\b", "C:model", ".hidden", "a/./b", "a//b", "nul", "com1.txt", "a\nb",
        "model.skops.", "a\0b", "\u202emodel", "a" * 300, "model.pkl", "sitecustomize.py", "MODEL.skops", "x.so", "",
    ],
)  # fmt: skip
def test_a_file_of_another_name_is_refused(name: str) -> None:
    assert "model" in refuse("sklearn", {"model.skops": SKOPS, name: b"x"})


REDUCES: dict[str, bytes] = {
    "os.system": EVIL,
    "exec": pickle.dumps(Reduce(exec, ("1",))),
    "getattr": pickle.dumps(Reduce(getattr, (str, "format"))),
    "an old opcode": b"(S'true'\nios\nsystem\n.",
    "a name on the stack that is dropped": b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x04math\x8c\x03exp00\x93.",
    "a computed name": b"\x80\x04N\x8c\x06system\x93.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "a nested pickle": pickle.dumps(Reduce(pickle.loads, (EVIL,))),
    "a torn pickle": EVIL[:-4],
    "a dunder path": b"\x80\x04\x8c\x08builtins\x8c\x11int.__class__.mro\x93.",
}


@pytest.mark.parametrize("what", REDUCES)
def test_a_pickle_that_calls_what_no_model_needs_is_refused(what: str) -> None:
    assert "refused" in refuse("pickle", {"model.pkl": REDUCES[what]}, pickled=True)


def edited(change: Callable[[Any], None]) -> dict[str, bytes]:
    model = json.loads(XGB["model.json"])
    change(model["learner"]["gradient_booster"]["model"]["trees"][0])
    return {**XGB, "model.json": json.dumps(model).encode()}


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["left_children"].__setitem__(0, 10**6),
        lambda tree: tree["left_children"].__setitem__(1, 0),
        lambda tree: tree["right_children"].__setitem__(0, tree["left_children"][0]),
        lambda tree: tree["split_indices"].__setitem__(0, 99),
        lambda tree: tree["split_conditions"].pop(),
        lambda tree: tree["tree_param"].update(num_nodes="999"),
        lambda tree: tree.pop("default_left"),
        lambda tree: tree.update(categories_sizes=[9], categories_segments=[0], categories_nodes=[0]),
    ],
)
def test_a_tree_of_xgboost_that_points_outside_itself_is_refused(change: Any) -> None:
    assert "refused" in refuse("xgboost", edited(change))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"left_child=\S+", "left_child=9"), (r"left_child=\S+", "left_child=0"), ("split_feature=", "split_feature=99 "),
        ("num_leaves=", "num_leaves=9"), ("tree_sizes=", "tree_sizes=9"), ("max_feature_idx=2", "max_feature_idx=0"),
        ("tree\n", "forest\n"), ("decision_type=2", "decision_type=3"),
    ],
)  # fmt: skip
def test_a_tree_of_lightgbm_that_points_outside_itself_is_refused(old: str, new: str) -> None:
    text = LGB["model.txt"].decode()
    changed = re.sub(old, new, text, count=1)
    assert changed != text
    assert "refused" in refuse("lightgbm", {**LGB, "model.txt": changed.encode()})


def test_tensors_that_overlap_or_hide_something_are_refused() -> None:
    layers = b'{"kind":"Linear","arguments":{"in_features":2,"out_features":1,"bias":false}}'
    good = save_tensors({"weight": np.ones((1, 2), dtype=np.float32)})
    scan(manifest("torch", ["layers.json", "state.safetensors"]), {"layers.json": layers, "state.safetensors": good})
    for bad in (
        good + EVIL,
        good.replace(b"[0,8]", b"[0,4]"),
        good.replace(b"[1,2]", b"[9,2]"),
        EVIL,
        b"\xff" * 20,
        good[:-1],
    ):
        assert "state.safetensors" in refuse("torch", {"layers.json": layers, "state.safetensors": bad})


def test_a_version_cannot_say_of_itself_that_it_is_no_pickle(ws: Workspace) -> None:
    assert "cannot say pickled=False" in refuse("pickle", {"model.pkl": EVIL}, pickled=False)
    assert "cannot say pickled=True" in refuse("sklearn", {"model.skops": SKOPS}, pickled=True)
    assert "no package installed here brings" in refuse("evil", {"model.evil": b"x"})
    assert '"model.skops" is missing' in refuse("sklearn", {})
    lying = write_artifact(ws.store, {"model.pkl": EVIL}, manifest("sklearn", []))
    with pytest.raises(InvalidInput, match="refused"):
        door.check_artifact(ws, artifact=lying)
    doubled = msgspec.structs.replace(manifest("sklearn", ["model.skops", "Model.skops"]))
    same = ws.store.put(SKOPS)
    doubled = msgspec.structs.replace(doubled, files=tuple(Stored(one.path, same, 1) for one in doubled.files))
    with pytest.raises(InvalidInput, match="there twice"):
        models.register_version(ws, name="m", artifact=ws.store.put(canonical_json(doubled)))
    assert models.list_models(ws).items == []


def test_the_scan_lets_through_what_the_libraries_write() -> None:
    scan(manifest("sklearn", ["model.skops"]), {"model.skops": SKOPS})
    folder = {"model.skops": SKOPS, "MLmodel": b"flavors: {}", "requirements.txt": b"skops"}
    scan(manifest("sklearn", folder), folder)
    assert "requirements.txt" in refuse("sklearn", {"model.skops": SKOPS, "requirements.txt": b"skops"})
    sparse = flavors()["sklearn"].save(OneHotEncoder().fit(np.array([["a"], ["b"]])))
    scan(manifest("sklearn", sparse), sparse)
    scan(manifest("xgboost", XGB), XGB)
    scan(manifest("lightgbm", LGB), LGB)
    assert repacked() != b""
