"""The content-addressed object store and the append-only segments."""

from trine.storage.garbage import Collected, collect
from trine.storage.objects import Damage, ObjectStore, Store
from trine.storage.segments import SegmentRead, SegmentWriter, read_segment, segments_in

__all__ = [
    "Collected",
    "Damage",
    "ObjectStore",
    "SegmentRead",
    "SegmentWriter",
    "Store",
    "collect",
    "read_segment",
    "segments_in",
]
