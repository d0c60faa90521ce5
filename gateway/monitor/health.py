"""Whether messages can be taken: asked by load balancers, answered from the real thing."""

from __future__ import annotations

from sqlalchemy import Engine

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.store import epochs
from gateway.store.engine import reading
from gateway.store.migrate import check_version

__all__ = ["unready"]


def unready(engine: Engine) -> GatewayError | None:
    """Return why no message can be taken now, None when one can."""
    try:
        check_version(engine)
        with reading(engine) as conn:
            epochs.current(conn)
    except GatewayError as problem:
        return problem
    except Exception as mistake:
        return GatewayError(OUR_MISTAKE, type(mistake).__name__)
    return None
