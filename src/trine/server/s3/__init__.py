"""The S3 gateway: datasets as buckets, `s3://DATASET/REF/path`, for unchanged clients of S3."""

from trine.server.s3.application import S3

__all__ = ["S3"]
