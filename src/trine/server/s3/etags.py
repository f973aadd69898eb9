"""ETags: the MD5 of a file where it is known, as S3 gives for files that came in one piece; else its BLAKE3 in the form that S3
gives for those that came in parts, which no client takes for an MD5. Both stand for the same bytes for ever."""

from __future__ import annotations

import email.utils
from collections.abc import Iterable, Mapping

from trine.data.aliases import known_digests
from trine.data.browsing import File
from trine.server.s3.errors import S3Error
from trine.workspace import Workspace


def etags(ws: Workspace, objects: Iterable[str]) -> dict[str, str]:
    """The ETag of each object, with its quotes."""
    wanted = set(objects)
    known = known_digests(ws, wanted, "md5")
    return {name: f'"{known[name]}"' if name in known else by_hash(name) for name in wanted}


def by_hash(name: str) -> str:
    """The ETag of an object whose MD5 is not known."""
    return f'"{name[:32]}-1"'


def check_read(headers: Mapping[str, str], file: File, etag: str) -> bool:
    """Whether a file has to be sent (False: it is not modified). Raises S3Error for a precondition that does not hold."""
    if wanted := headers.get("if-match"):
        if not _names(wanted, file, etag):
            raise S3Error("PreconditionFailed", "The file is not the one that If-Match names.")
    elif (since := _time(headers.get("if-unmodified-since", ""))) and file.changed_us // 1_000_000 > since:
        raise S3Error("PreconditionFailed", "The file changed since the time of If-Unmodified-Since.")
    if known := headers.get("if-none-match"):
        return not _names(known, file, etag)
    since = _time(headers.get("if-modified-since", ""))
    return not since or file.changed_us // 1_000_000 > since


def expected(headers: Mapping[str, str], path: str, file: File | None, etag: str) -> dict[str, str]:
    """What has to be at a path for it to be written, as `stage` takes it. Raises S3Error when it is not now."""
    if known := headers.get("if-none-match"):
        if known.strip() != "*":
            raise S3Error("NotImplemented", "If-None-Match of a write is * only.")
        if file:
            raise S3Error("PreconditionFailed", f'"{path}" is there already.')
        return {path: ""}
    if wanted := headers.get("if-match"):
        if file is None:
            raise S3Error("NoSuchKey", f'"{path}" is not there.')
        if not _names(wanted, file, etag):
            raise S3Error("PreconditionFailed", "The file is not the one that If-Match names.")
        return {path: file.object}
    return {}


def _names(header: str, file: File, etag: str) -> bool:
    wanted = {one.strip().removeprefix("W/").strip('"') for one in header.split(",")}
    return bool(wanted & {"*", etag.strip('"'), by_hash(file.object).strip('"')})


def _time(text: str) -> int:
    try:
        return int(email.utils.parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return 0
