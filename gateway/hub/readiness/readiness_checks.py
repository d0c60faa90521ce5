"""Whether a hub can do its work now: its keys sign, and what trust rests on is not stale."""

from __future__ import annotations

from typing import Final

from gateway.errors import GatewayError
from gateway.hub.hub import Hub

__all__ = ["find_key_problem", "find_unreadiness"]

_PROBE: Final = b"gateway ready"


def find_key_problem(hub: Hub) -> GatewayError | None:
    """Return why the key that signs now does not, None when it does: it is asked to sign."""
    try:
        hub.signer.sign(_PROBE)
    except GatewayError as problem:
        return problem
    return None


def find_unreadiness(hub: Hub) -> GatewayError | None:
    """Return why nothing new should be sent here, None when there is no reason.

    Without its key a hub takes messages in all the same, and receipts them when the key is back;
    but another that has its key serves them better.
    """
    problem = find_key_problem(hub)
    if problem is not None or hub.stamping is None:
        return problem
    try:
        return hub.stamping.find_refusal_problem(hub.clock())
    except GatewayError as away:
        return away
