"""Errors in S3's form: a code that clients know, a message for people."""

from __future__ import annotations

from trine.errors import (
    Conflict,
    InvalidInput,
    NoSpace,
    NotFound,
    Refused,
    TooLarge,
    TrineError,
    Unauthenticated,
    Unavailable,
)

STATUS = {
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "BadDigest": 400,
    "BucketAlreadyOwnedByYou": 409,
    "EntityTooLarge": 400,
    "IncompleteBody": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "KeyTooLongError": 400,
    "MalformedXML": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotImplemented": 501,
    "OperationAborted": 409,
    "PreconditionFailed": 412,
    "RequestTimeTooSkewed": 403,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "XAmzContentSHA256Mismatch": 400,
}

_OF: dict[type[TrineError], str] = {
    Unauthenticated: "InvalidAccessKeyId",
    Refused: "AccessDenied",
    NotFound: "NoSuchKey",
    Conflict: "OperationAborted",
    InvalidInput: "InvalidRequest",
    TooLarge: "EntityTooLarge",
    Unavailable: "ServiceUnavailable",
    NoSpace: "ServiceUnavailable",
}


class S3Error(Exception):
    """An error with a code of S3's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        return STATUS[self.code]


def from_trine(error: TrineError) -> S3Error:
    """The nearest code of S3's for an error of ours; the message stays."""
    code = next((code for kind, code in _OF.items() if isinstance(error, kind)), "InternalError")
    return S3Error(code, error.message)
