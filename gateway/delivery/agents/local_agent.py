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
    conclude_case,
    drop_fragments,
    end_hold,
    expire_fragments,
    fail_split,
    forward_customs_notice,
    free_next_admission,
    issue_delivery_failure,
    issue_late_receipt,
    join_fragments,
    join_requirements,
    notify_agency_of_payment,
    notify_applicant,
    notify_of_fee,
    probe_signing_key,
    queue_delivery_failure,
    record_decision_if_late,
    record_result_if_late,
    report_late_decision,
    report_late_result,
    send_deadline_notice,
    send_hold_notice,
    settle_after_act,
    wake_held_case,
)
from gateway.store import DeliveryLease, StateEvent, messages

_ACTOR = "local"
_Task = Callable[[Hub, DeliveryLease, FinishLease], None]


def _wrap_subject_task(task: Callable[[Hub, int, FinishLease], object]) -> _Task:
    """Return a task of the agent that calls `task` with the row id of the delivery's subject."""

    def run_task(hub: Hub, lease: DeliveryLease, finish_lease: FinishLease) -> None:
        task(hub, int(lease.subject_id), finish_lease)

    return run_task


def _run_end_of_hold(hub: Hub, lease: DeliveryLease, finish_lease: FinishLease) -> None:
    # A table of needs may ask less meanwhile: a case that lacks nothing any more goes on, and is not refused.
    wake_held_case(hub, int(lease.subject_id), lambda _conn: None)
    end_hold(hub, int(lease.subject_id), finish_lease)


def _wrap_case_task(task: Callable[[Hub, int, int, FinishLease], None]) -> _Task:
    """Return a task of the agent that calls `task` with the row ids of the delivery's subject and case."""

    def run_task(hub: Hub, lease: DeliveryLease, finish_lease: FinishLease) -> None:
        if lease.case_id is None:
            raise GatewayError(
                OUR_MISTAKE, f"the case of {lease.subject_type} {lease.subject_id} is not named"
            )
        task(hub, int(lease.subject_id), lease.case_id, finish_lease)

    return run_task


def _wrap_parameter_task(task: Callable[[Hub, int, Any, FinishLease], None], parameter_name: str) -> _Task:
    """Return a task of the agent that calls `task` with the row id of its subject and a parameter."""

    def run_task(hub: Hub, lease: DeliveryLease, finish_lease: FinishLease) -> None:
        task(hub, int(lease.subject_id), lease.parameters[parameter_name], finish_lease)

    return run_task


_TASKS: Final[dict[str, _Task]] = {
    "admit": _wrap_subject_task(admit_submission),
    "conclude": lambda hub, lease, finish: conclude_case(
        hub, int(lease.subject_id), Conclusion(str(lease.id), lease.parameters.get("rests_on")), finish
    ),
    "notify": _wrap_subject_task(notify_applicant),
    "end_hold": _run_end_of_hold,
    "tell_hold": lambda hub, lease, finish: send_hold_notice(
        hub, int(lease.subject_id), lease.parameters["message"], finish, lease.parameters.get("look", "")
    ),
    "wake": _wrap_subject_task(wake_held_case),
    "join": lambda hub, lease, finish: join_requirements(
        hub, int(lease.subject_id), lease.parameters.get("changed"), finish, lease.parameters.get("said")
    ),
    "apply_results": _wrap_subject_task(apply_results),
    "customs_notice": _wrap_subject_task(forward_customs_notice),
    "late_decision": lambda hub, lease, finish: report_late_decision(
        hub, int(lease.subject_id), lease.case_id, finish
    ),
    "late_inherited": _wrap_case_task(record_decision_if_late),
    "late_result": _wrap_case_task(report_late_result),
    "late_result_inherited": _wrap_case_task(record_result_if_late),
    "ask_cancel": _wrap_subject_task(ask_after_withdrawal),
    "key": lambda hub, _lease, finish: probe_signing_key(hub, finish),
    "receipt": _wrap_parameter_task(issue_late_receipt, "said"),
    "failure": _wrap_parameter_task(issue_delivery_failure, "said"),
    "remind": _wrap_parameter_task(send_deadline_notice, "what"),
    "settle": _wrap_parameter_task(settle_after_act, "at"),
    "fee": lambda hub, lease, finish: notify_of_fee(
        hub, int(lease.subject_id), lease.parameters["step"], lease.parameters["mark"], finish
    ),
    "tell_payment": _wrap_subject_task(notify_agency_of_payment),
    "join_fragments": _wrap_subject_task(join_fragments),
    "expire_fragments": _wrap_subject_task(expire_fragments),
    "drop_fragments": _wrap_subject_task(drop_fragments),
    "fail_split": _wrap_parameter_task(fail_split, "said"),
}


class LocalAgent:
    """Runs one task of the hub itself; a task that fails is a fault of the hub and is repeated."""

    def __init__(self, hub: Hub, retry_plan: RetryPlan) -> None:
        self._hub = hub
        self._retry_plan = retry_plan

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Run the task; it ends the lease in the transaction that stores its effect."""
        task = _TASKS.get(str(lease.parameters.get("task")))
        if task is None:
            raise GatewayError(OUR_MISTAKE, f"no task {str(lease.parameters.get('task'))[:40]!r}")
        task(self._hub, lease, make_lease_finisher(lease, self._hub.clock))

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retry plan of the settings, the same for every task."""
        del lease
        return self._retry_plan

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Leave the failed task to an operator.

        A message that could not be admitted becomes FAILED, and this is reported to its sender (ebMS 2.0
        §6.5.7).
        """
        delivery, problem_id = failure.delivery, failure.problem.problem.id
        task_name = str(delivery.parameters.get("task"))
        if task_name == "admit":
            message_id = int(delivery.subject_id)
            message_row = messages.find_by_id(conn, message_id)
            if message_row is not None and message_row.state == "ACCEPTED":
                messages.apply_event(
                    conn, message_id, StateEvent("fail", failure.at, _ACTOR, problem_id), problem_id
                )
                # What went wrong in detail is ours, and not for the sender.
                sender_problem = GatewayError(
                    failure.problem.problem, "the message is stored and was not processed"
                )
                queue_delivery_failure(conn, message_id, sender_problem, failure.at)
            free_next_admission(conn, message_id, delivery.id)
        evidence_fields = {"task": task_name[:40], "problem": problem_id}
        record_evidence(
            conn, "failed", delivery.subject_type, delivery.subject_id, None, evidence_fields, failure.at
        )
