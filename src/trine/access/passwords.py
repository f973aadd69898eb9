"""Passwords: argon2id, and only when somebody signs in. Every other call carries a token."""

from __future__ import annotations

import threading

from trine.errors import InvalidInput

SHORTEST = 10

_one_at_a_time = threading.BoundedSemaphore(2)
"""A check takes 64 MiB and a tenth of a second by design: many at once would starve the server, and a guesser gets few."""

_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$Ql1+D2bGvRk7zhhoVbM0Tj1d1vIS3nJk3k7u8rNDpmE"


def hash_password(password: str) -> str:
    """The argon2id hash to keep. Raises InvalidInput for a password that is too short."""
    if len(password) < SHORTEST:
        raise InvalidInput(f"A password needs at least {SHORTEST} characters.")
    from argon2 import PasswordHasher

    with _one_at_a_time:
        return PasswordHasher().hash(password)


def is_password(kept: str, password: str) -> bool:
    """Whether a password is the kept one; without a kept one (an unknown user) it takes as long, and is wrong."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    with _one_at_a_time:
        try:
            return PasswordHasher().verify(kept or _NOBODY, password) and bool(kept)
        except (VerificationError, InvalidHashError):
            return False
