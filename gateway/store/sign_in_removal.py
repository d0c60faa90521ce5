"""Removes what sign-ins leave behind: old attempts, old sessions, and challenges that nobody answered.

A few hundred rows at a time, found by indexes of their age, so that no lock lasts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, exists, or_, select

from gateway.store.account_invitations import remove_expired
from gateway.store.account_tables import sessions, sign_ins
from gateway.store.oidc_sign_ins import remove_expired_sign_ins
from gateway.store.passkeys import remove_expired_challenges

__all__ = ["REMOVED_AT_ONCE", "remove_old_attempts", "remove_old_sessions", "remove_unanswered"]

#: Rows of one removal; when it removes so many, there may be more.
REMOVED_AT_ONCE: Final = 500


def remove_old_attempts(conn: Connection, before: datetime, *, good: bool) -> int:
    """Remove attempts to sign in of a time before, those that succeeded or those that failed; count them."""
    old = select(sign_ins.c.id).where(sign_ins.c.good.is_(good), sign_ins.c.at < before)
    chosen = old.order_by(sign_ins.c.at).limit(REMOVED_AT_ONCE)
    return conn.execute(delete(sign_ins).where(sign_ins.c.id.in_(chosen))).rowcount


def remove_old_sessions(conn: Connection, before: datetime) -> int:
    """Remove sessions that began before a time and are over; count them.

    The newest one of each account stays: it tells when the person last signed in.
    """
    later = sessions.alias("later")
    newer = exists().where(
        later.c.account_id == sessions.c.account_id, later.c.created_at > sessions.c.created_at
    )
    over = or_(sessions.c.ended_at.is_not(None), sessions.c.seen_at < before)
    old = select(sessions.c.id).where(sessions.c.created_at < before, over, newer)
    chosen = old.order_by(sessions.c.created_at).limit(REMOVED_AT_ONCE)
    return conn.execute(delete(sessions).where(sessions.c.id.in_(chosen))).rowcount


def remove_unanswered(conn: Connection, now: datetime) -> int:
    """Remove challenges, links and waiting sign-ins whose time is over; count them."""
    removed = remove_expired_challenges(conn, now) + remove_expired_sign_ins(conn, now)
    return removed + remove_expired(conn, now)
