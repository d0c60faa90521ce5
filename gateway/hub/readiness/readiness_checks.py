"""Checks whether a hub can work now: its key signs, and its time-stamping is not stale."""

from __future__ import annotations

from typing import Final

from gateway.errors import GatewayError
from gateway.hub.hub import Hub

__all__ = ["find_key_problem", "find_unreadiness"]

_PROBE: Final = b"gateway ready"


def find_key_problem(hub: Hub) -> GatewayError | None:
    """Sign a probe with the current key; return the problem, or None when the key signs."""
    try:
        hub.signer.sign(_PROBE)
    except GatewayError as problem:
        return problem
    return None


def find_unreadiness(hub: Hub) -> GatewayError | None:
    """Return why no new messages should be sent to this hub, None when there is no reason.

    A hub without its key still stores messages, and signs their receipts when the key is available.
    But a hub that has its key serves them better.
    """
    problem = find_key_problem(hub)
    if problem is not None:
        return problem
    try:
        hub.node.note_alive()
        drained = hub.node.find_drain()
        if drained is not None or hub.stamping is None:
            return drained
        return hub.stamping.find_refusal_problem(hub.clock())
    except GatewayError as away:
        return away
