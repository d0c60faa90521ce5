"""Whether messages can be taken: asked by load balancers, answered from the real thing."""

from __future__ import annotations

from sqlalchemy import Engine

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.store import epochs
from gateway.store.engine import reading, transaction
from gateway.store.migrate import check_version
from gateway.store.room import NoRoomError, room_of

__all__ = ["unready"]


def unready(engine: Engine) -> GatewayError | None:
    """Return why no message can be taken now, None when one can."""
    try:
        check_version(engine)
        with reading(engine) as conn:
            epochs.current(conn)
        return _without_room(engine)
    except GatewayError as problem:
        return problem
    except Exception as mistake:
        return GatewayError(OUR_MISTAKE, type(mistake).__name__)


def _without_room(engine: Engine) -> GatewayError | None:
    """Return GW806 while the disk is short, or the database takes nothing: after a refusal it is tried."""
    room = room_of(engine)
    if room.lacking:
        with transaction(engine) as conn:
            epochs.touch(conn)
    if room.lacking:
        return room.shortage() or NoRoomError("the database has just refused something")
    return room.shortage()
