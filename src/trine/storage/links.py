"""Having a file's content in a second place without a second copy, where the file system can (reflinks:
XFS, Btrfs). A write to one of both copies what is written, and leaves the other as it is."""

from __future__ import annotations

import fcntl

_FICLONE = 0x40049409


def clone(source: int, target: int) -> bool:
    """Make an open, empty file share the content of another; False where that cannot be."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
