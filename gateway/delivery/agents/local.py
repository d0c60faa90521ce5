"""Hands work to ourselves: admit a submission, conclude a case, tell a notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.delivery.leases import finisher, store_failure
from gateway.delivery.retry import RetryPlan
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub.admit import Finish, admit
from gateway.hub.conclude import conclude, notify
from gateway.hub.hub import Hub
from gateway.store.claims import Lease

__all__ = ["LocalAgent"]

_Task = Callable[[Hub, Lease, Finish], None]


def _admit(hub: Hub, lease: Lease, finish: Finish) -> None:
    admit(hub, int(lease.subject_id), finish)


def _conclude(hub: Hub, lease: Lease, finish: Finish) -> None:
    conclude(hub, int(lease.subject_id), str(lease.id), finish)


def _notify(hub: Hub, lease: Lease, finish: Finish) -> None:
    notify(hub, int(lease.subject_id), finish)


_TASKS: Final[dict[str, _Task]] = {"admit": _admit, "conclude": _conclude, "notify": _notify}


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

    def give_up(self, lease: Lease, problem: GatewayError) -> None:
        """Leave the task FAILED for an operator, who finds the problem with it."""
        store_failure(self._hub.engine, lease, problem, self._hub.clock())
