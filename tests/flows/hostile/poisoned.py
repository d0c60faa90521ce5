"""A delivering process in which some submissions crash the program, as a flaw of a C library would.

``POISON=segfault|exit|kill|hang python -m tests.flows.hostile.poisoned work --home DIR``: whoever admits
a message whose id begins with ``poison`` ends that way; without POISON nothing does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable

from gateway.delivery.agents import local_agent
from gateway.hub import Hub
from gateway.hub.outbox.local_tasks import FinishLease
from gateway.store import DeliveryLease, messages, read_transaction
from tests.kit import single

DEATHS: dict[str, Callable[[], object]] = {
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(70),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(3600),
}


def main() -> None:
    """Deliver until stopped, or poisoned."""
    death = DEATHS.get(os.environ.get("POISON", ""))
    real = local_agent._TASKS["admit"]

    def admit(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
        with read_transaction(hub.engine) as conn:
            row = messages.find_by_id(conn, int(lease.subject_id))
        if death is not None and row is not None and row.message_id.startswith("poison"):
            death()
        real(hub, lease, finish)

    local_agent._TASKS["admit"] = admit
    single.main()


if __name__ == "__main__":
    main()
