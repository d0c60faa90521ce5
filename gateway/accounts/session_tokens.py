"""Sessions: tokens, their digests, and when a session ends."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

__all__ = [
    "SessionLimits",
    "SessionTimes",
    "derive_form_token",
    "digest_token",
    "is_session_over",
    "make_token",
]


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session may be idle, and how long it may last in all."""

    idle: timedelta
    whole: timedelta


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """When a session began and was last used, and when it was ended (None while it lasts)."""

    created_at: datetime
    seen_at: datetime
    ended_at: datetime | None = None


def make_token(random: bytes) -> str:
    """Return the token of 32 random octets, as text for a cookie."""
    return urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def digest_token(token: str) -> str:
    """Return the digest by which a token is stored: who reads the database cannot use the session."""
    return sha256(token.encode()).hexdigest()


def derive_form_token(token: str) -> str:
    """Return the token that each form of a session contains, against cross-site request forgery."""
    return hmac.new(token.encode(), b"form", sha256).hexdigest()


def is_session_over(times: SessionTimes, limits: SessionLimits, now: datetime) -> bool:
    """Return whether a session has been ended, was idle too long, or has lasted too long."""
    return (
        times.ended_at is not None
        or now - times.seen_at >= limits.idle
        or now - times.created_at >= limits.whole
    )
