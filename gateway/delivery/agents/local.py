"""Hands work to ourselves: admit a submission, conclude a case, tell a notice, receipt what was stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.leases import finisher
from gateway.delivery.retry import RetryPlan
from gateway.delivery.worker import Failed
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.evidence.log import record
from gateway.hub.admit import Finish, admit
from gateway.hub.conclude import Conclusion, conclude, notify
from gateway.hub.hub import Hub
from gateway.hub.late_receipts import await_key, make_receipt
from gateway.store import messages
from gateway.store.claims import Lease
from gateway.store.transitions import Step

__all__ = ["LocalAgent"]

_ACTOR = "local"
_Task = Callable[[Hub, Lease, Finish], None]


def _admit(hub: Hub, lease: Lease, finish: Finish) -> None:
    admit(hub, int(lease.subject_id), finish)


def _conclude(hub: Hub, lease: Lease, finish: Finish) -> None:
    told = Conclusion(str(lease.id), lease.parameters.get("rests_on"))
    conclude(hub, int(lease.subject_id), told, finish)


def _notify(hub: Hub, lease: Lease, finish: Finish) -> None:
    notify(hub, int(lease.subject_id), finish)


def _key(hub: Hub, lease: Lease, finish: Finish) -> None:
    del lease
    await_key(hub, finish)


def _receipt(hub: Hub, lease: Lease, finish: Finish) -> None:
    make_receipt(hub, int(lease.subject_id), lease.parameters["said"], finish)


_TASKS: Final[dict[str, _Task]] = {
    "admit": _admit,
    "conclude": _conclude,
    "notify": _notify,
    "key": _key,
    "receipt": _receipt,
}


class LocalAgent:
    """Runs one task of the hub's own; a task that fails is a mistake of ours and is repeated."""

    def __init__(self, hub: Hub, plan: RetryPlan) -> None:
        self._hub = hub
        self._plan = plan

    def deliver(self, lease: Lease) -> None:
        """Run the task; it ends the lease in the transaction that stores its effect."""
        task = _TASKS.get(str(lease.parameters.get("task")))
        if task is None:
            raise GatewayError(OUR_MISTAKE, f"no task {str(lease.parameters.get('task'))[:40]!r}")
        task(self._hub, lease, finisher(lease, self._hub.clock))

    def plan(self, lease: Lease) -> RetryPlan:
        """Return the plan of the settings, the same for every task."""
        del lease
        return self._plan

    def failed(self, conn: Connection, what: Failed) -> None:
        """Leave the task to an operator; a submission that could not be admitted is FAILED with it."""
        delivery, problem = what.delivery, what.problem.problem.id
        task = str(delivery.parameters.get("task"))
        if task == "admit":
            message = int(delivery.subject_id)
            row = messages.get(conn, message)
            if row is not None and row.state == "ACCEPTED":
                messages.move(conn, message, Step("fail", what.at, _ACTOR, problem), problem)
        data = {"task": task[:40], "problem": problem}
        record(conn, "failed", delivery.subject_type, delivery.subject_id, None, data, what.at)
