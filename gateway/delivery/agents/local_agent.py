"""Runs the hub's own tasks: admission, conclusion, notification of the applicant, late signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection

from gateway.delivery.attempt_outcome import FailedDelivery, RetryPlan, make_lease_finisher
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.evidence import record_evidence
from gateway.hub import (
    Conclusion,
    FinishLease,
    Hub,
    admit_submission,
    apply_results,
    ask_after_withdrawal,
    check_late_decision,
    check_late_result,
    conclude_case,
    drop_fragments,
    end_hold,
    expire_fragments,
    fail_split,
    free_next_admission,
    issue_delivery_failure,
    issue_late_receipt,
    join_fragments,
    join_requirements,
    notify_applicant,
    notify_of_fee,
    probe_signing_key,
    queue_delivery_failure,
    send_deadline_notice,
    settle_after_act,
    tell_agency_of_payment,
    tell_customs_news,
    tell_hold,
    tell_late_decision,
    tell_late_result,
    wake_held_case,
)
from gateway.store import DeliveryLease, StateEvent, messages

_ACTOR = "local"
_Task = Callable[[Hub, DeliveryLease, FinishLease], None]


def _run_by_id(task: Callable[[Hub, int, FinishLease], object]) -> _Task:
    """Return the task that is given the row id of its subject, and nothing else."""

    def run(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
        task(hub, int(lease.subject_id), finish)

    return run


def _run_end_of_hold(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    # A table of needs may ask less meanwhile: a case that lacks nothing any more goes on, and is not refused.
    wake_held_case(hub, int(lease.subject_id), lambda _conn: None)
    end_hold(hub, int(lease.subject_id), finish)


def _run_of_case(task: Callable[[Hub, int, int, FinishLease], None]) -> _Task:
    """Return the task that is given the row ids of its subject and of its case."""

    def run(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
        if lease.case_id is None:
            raise GatewayError(
                OUR_MISTAKE, f"the case of {lease.subject_type} {lease.subject_id} is not named"
            )
        task(hub, int(lease.subject_id), lease.case_id, finish)

    return run


def _run_by_parameter(task: Callable[[Hub, int, Any, FinishLease], None], name: str) -> _Task:
    """Return the task that is given the row id of its subject, and a parameter of its delivery."""

    def run(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
        task(hub, int(lease.subject_id), lease.parameters[name], finish)

    return run


_TASKS: Final[dict[str, _Task]] = {
    "admit": _run_by_id(admit_submission),
    "conclude": lambda hub, lease, finish: conclude_case(
        hub, int(lease.subject_id), Conclusion(str(lease.id), lease.parameters.get("rests_on")), finish
    ),
    "notify": _run_by_id(notify_applicant),
    "end_hold": _run_end_of_hold,
    "tell_hold": lambda hub, lease, finish: tell_hold(
        hub, int(lease.subject_id), lease.parameters["message"], finish, lease.parameters.get("look", "")
    ),
    "wake": _run_by_id(wake_held_case),
    "join": lambda hub, lease, finish: join_requirements(
        hub, int(lease.subject_id), lease.parameters.get("changed"), finish, lease.parameters.get("said")
    ),
    "apply_results": _run_by_id(apply_results),
    "customs_notice": _run_by_id(tell_customs_news),
    "late_decision": lambda hub, lease, finish: tell_late_decision(
        hub, int(lease.subject_id), lease.case_id, finish
    ),
    "late_inherited": _run_of_case(check_late_decision),
    "late_result": _run_of_case(tell_late_result),
    "late_result_inherited": _run_of_case(check_late_result),
    "ask_cancel": _run_by_id(ask_after_withdrawal),
    "key": lambda hub, _lease, finish: probe_signing_key(hub, finish),
    "receipt": _run_by_parameter(issue_late_receipt, "said"),
    "failure": _run_by_parameter(issue_delivery_failure, "said"),
    "remind": _run_by_parameter(send_deadline_notice, "what"),
    "settle": _run_by_parameter(settle_after_act, "at"),
    "fee": lambda hub, lease, finish: notify_of_fee(
        hub, int(lease.subject_id), lease.parameters["step"], lease.parameters["mark"], finish
    ),
    "tell_payment": _run_by_id(tell_agency_of_payment),
    "join_fragments": _run_by_id(join_fragments),
    "expire_fragments": _run_by_id(expire_fragments),
    "drop_fragments": _run_by_id(drop_fragments),
    "fail_split": _run_by_parameter(fail_split, "said"),
}


class LocalAgent:
    """Runs one task of the hub itself; a task that fails is a fault of the hub and is repeated."""

    def __init__(self, hub: Hub, plan: RetryPlan) -> None:
        self._hub = hub
        self._plan = plan

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Run the task; it ends the lease in the transaction that stores its effect."""
        task = _TASKS.get(str(lease.parameters.get("task")))
        if task is None:
            raise GatewayError(OUR_MISTAKE, f"no task {str(lease.parameters.get('task'))[:40]!r}")
        task(self._hub, lease, make_lease_finisher(lease, self._hub.clock))

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retry plan of the settings, the same for every task."""
        del lease
        return self._plan

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Leave the failed task to an operator.

        A message that could not be admitted becomes FAILED, and this is reported to its sender (ebMS 2.0
        §6.5.7).
        """
        delivery, problem = failure.delivery, failure.problem.problem.id
        task = str(delivery.parameters.get("task"))
        if task == "admit":
            message = int(delivery.subject_id)
            row = messages.find_by_id(conn, message)
            if row is not None and row.state == "ACCEPTED":
                messages.apply_event(conn, message, StateEvent("fail", failure.at, _ACTOR, problem), problem)
                # What went wrong in detail is ours, and not for the sender.
                sender_problem = GatewayError(
                    failure.problem.problem, "the message is stored and was not processed"
                )
                queue_delivery_failure(conn, message, sender_problem, failure.at)
            free_next_admission(conn, message, delivery.id)
        data = {"task": task[:40], "problem": problem}
        record_evidence(conn, "failed", delivery.subject_type, delivery.subject_id, None, data, failure.at)
