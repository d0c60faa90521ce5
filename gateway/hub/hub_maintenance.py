"""What a worker does for the hub now and then, beside its deliveries."""

from __future__ import annotations

from gateway.hub.deadlines import run_clockwork
from gateway.hub.hub import Hub
from gateway.hub.order import give_up_expired_messages

__all__ = ["maintain_hub"]


def maintain_hub(hub: Hub) -> None:
    """Store what was refused, count what is new, remove what is old, and do what is due.

    Messages held too long are given up, and deadlines are fired.
    """
    # First, so that its events get their places now.
    run_clockwork(hub)
    hub.run_maintenance()
    give_up_expired_messages(hub)
