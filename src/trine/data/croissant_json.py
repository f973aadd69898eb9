"""A dataset version as MLCommons Croissant: JSON-LD that other tools and search engines read (format 1.0, 2024)."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from trine.data.cards import DataCard, card
from trine.data.commits import Commit
from trine.data.trees import Entry, read_tree
from trine.ids import to_datetime
from trine.storage import Store
from trine.workspace import Workspace, current_workspace

FEW = 50
"""Files that are each described; of more, each kind is a set."""

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_TYPES = (
    (("Int", "UInt"), "sc:Integer"),
    (("Float", "Decimal"), "sc:Float"),
    (("Boolean",), "sc:Boolean"),
    (("Datetime",), "sc:DateTime"),
    (("Date",), "sc:Date"),
)
_ENDINGS = {".parquet": "application/x-parquet", ".jsonl": "application/jsonlines"}
_SAID = {"license": "license", "citation": "citeAs", "url": "url", "published": "datePublished"}


def croissant(ref: str, *, ws: Workspace | None = None) -> dict[str, Any]:
    """A version as Croissant JSON-LD. Paths are as a checkout of it has them; up to 50 files come with the SHA-256 of their
    bytes, for which they are read: O(bytes)."""
    ws = ws or current_workspace()
    known = card(ref, ws=ws)
    commit = known.commit
    entries = read_tree(ws.store, commit.tree)
    return {
        **_about(known),
        "distribution": list(_distribution(ws.store, commit, entries)),
        **_records(commit, entries),
    }


def _about(known: DataCard) -> dict[str, Any]:
    commit = known.commit
    said = {one.name: one.value for one in known.facts}
    made = to_datetime(commit.created_us).isoformat(timespec="seconds")
    about: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": commit.dataset,
        "description": said.get("description", f"Version {commit.id[:12]} of the dataset {commit.dataset}."),
        "version": f"1.0.0+{commit.id[:12]}",  # Croissant wants a semantic version; what it is about is after the plus
        "identifier": f"trine:{commit.dataset}@{commit.id}",
        "dateCreated": made,
        "datePublished": made,
    }
    about |= {name: said[fact] for fact, name in _SAID.items() if fact in said}
    if creators := [one.strip() for one in said.get("creators", "").split(";") if one.strip()]:
        about["creator"] = [{"@type": "sc:Person", "name": one} for one in creators]
    if keywords := [one.strip() for one in said.get("keywords", "").split(",") if one.strip()]:
        about["keywords"] = keywords
    for fact, name in (
        ("collection", "rai:dataCollection"),
        ("sensitive", "rai:personalSensitiveInformation"),
        ("uses", "rai:dataUseCases"),
    ):
        if fact in said:
            about[name] = said[fact]
    return about


def _distribution(store: Store, commit: Commit, entries: list[Entry]) -> Iterator[dict[str, Any]]:
    if commit.kind == "table" and len(entries) > 1:
        yield _set("parts", "*.parquet", _ENDINGS[".parquet"])
    elif len(entries) > FEW:
        endings = dict.fromkeys(PurePosixPath(entry.path).suffix for entry in entries)
        for ending in sorted(endings):
            yield _set(f"files{ending or '-without-ending'}", f"**/*{ending}", _format(f"x{ending}"))
    if len(entries) > FEW:
        return
    for entry in entries:
        yield {
            "@type": "cr:FileObject",
            "@id": entry.path,
            "name": entry.path,
            "contentUrl": entry.path,
            "contentSize": f"{entry.size} B",
            "encodingFormat": _format(entry.path),
            "sha256": _sha256(store, entry.hash),
        }


def _set(name: str, includes: str, form: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": form, "includes": includes}


def _format(path: str) -> str:
    ending = PurePosixPath(path).suffix.lower()
    return _ENDINGS.get(ending) or mimetypes.guess_type(path)[0] or "application/octet-stream"


def _sha256(store: Store, name: str) -> str:
    hasher = hashlib.sha256()
    chunks = getattr(store, "chunks", None)
    for part in chunks(name) if chunks else (store.get(name),):
        hasher.update(part)
    return hasher.hexdigest()


def _records(commit: Commit, entries: list[Entry]) -> dict[str, Any]:
    """The rows of a table, by column."""
    if commit.kind != "table" or not entries:
        return {}
    source = {"fileObject": {"@id": entries[0].path}} if len(entries) == 1 else {"fileSet": {"@id": "parts"}}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"rows/{name}",
            "name": name,
            "dataType": _type(dtype),
            "source": {**source, "extract": {"column": name}},
        }
        for name, dtype in commit.schema.items()
    ]
    return {"recordSet": [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}]}


def _type(dtype: str) -> str:
    return next((kind for starts, kind in _TYPES if dtype.startswith(starts)), "sc:Text")
