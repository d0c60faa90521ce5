"""Passwords: which are accepted, and their hashes (Argon2id, RFC 9106)."""

from __future__ import annotations

from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

__all__ = [
    "LONGEST_PASSWORD",
    "SHORTEST_PASSWORD",
    "find_password_problem",
    "hash_password",
    "verify_password",
]

#: Number of characters of a password (NIST SP 800-63B-4 3.1.1.2: 15 when it is the only factor).
SHORTEST_PASSWORD: Final = 15
#: A longer one costs time to hash and adds nothing.
LONGEST_PASSWORD: Final = 128
_FEWEST_DIFFERENT: Final = 5
# RFC 9106 section 4, second recommendation: 64 MiB, three passes, four lanes.
_HASHER: Final = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
#: A hash of no password: an unknown name costs the same time as a known one.
_NOBODY: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$c2luZ2xlLXdpbmRvdy1ndw$VafzW3p6WZvNpgAgCpn5WOiyohWZkqfgRVAQvCaFIKw"
)


def find_password_problem(password: str, names: tuple[str, ...] = ()) -> str | None:
    """Return why a new password is refused, as a sentence; None when it is accepted.

    `names` are the sign-in name and the name of its owner, which a password may not contain.
    """
    if len(password) < SHORTEST_PASSWORD:
        return f"A password has at least {SHORTEST_PASSWORD} characters."
    if len(password) > LONGEST_PASSWORD:
        return f"A password has at most {LONGEST_PASSWORD} characters."
    if len(set(password)) < _FEWEST_DIFFERENT:
        return f"A password has at least {_FEWEST_DIFFERENT} different characters."
    if any(len(name) > 2 and name.casefold() in password.casefold() for name in names):
        return "A password does not contain the name of its owner."
    return None


def hash_password(password: str, salt: bytes) -> str:
    """Return the hash of a password with 16 random octets of `salt`, in the PHC string format."""
    return _HASHER.hash(password, salt=salt)


def verify_password(stored: str | None, password: str) -> bool:
    """Return whether a password has this hash; a missing hash takes the same time and is never right."""
    if len(password) > LONGEST_PASSWORD:
        return False
    try:
        _HASHER.verify(stored or _NOBODY, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None
