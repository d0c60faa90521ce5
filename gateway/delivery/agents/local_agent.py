"""Runs the hub's own tasks: admission, conclusion, notification of the applicant, late signals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.attempt_outcome import RetryPlan, make_lease_finisher
from gateway.delivery.delivery_agent import FailedDelivery
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
    free_next_admission,
    issue_delivery_failure,
    issue_late_receipt,
    join_fragments,
    join_requirements,
    look_for_late_decision,
    look_for_late_result,
    notify_applicant,
    notify_of_fee,
    probe_signing_key,
    queue_delivery_failure,
    send_deadline_notice,
    settle_after_act,
    store_resumed_case,
    tell_agency_of_payment,
    tell_customs_news,
    tell_hold,
    tell_late_decision,
    tell_late_result,
    wake_held_case,
)
from gateway.store import DeliveryLease, StateEvent, messages

__all__ = ["LocalAgent"]

_ACTOR = "local"
_Task = Callable[[Hub, DeliveryLease, FinishLease], None]


def _run_by_id(task: Callable[[Hub, int, FinishLease], object]) -> _Task:
    """Return the task that is given the row id of its subject, and nothing else."""

    def run(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
        task(hub, int(lease.subject_id), finish)

    return run


def _run_conclusion(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    told = Conclusion(str(lease.id), lease.parameters.get("rests_on"))
    conclude_case(hub, int(lease.subject_id), told, finish)


def _run_waking(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    wake_held_case(hub, int(lease.subject_id), store_resumed_case, finish)


def _run_end_of_hold(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    # A table of needs may ask less meanwhile: a case that lacks nothing any more goes on, and is not refused.
    wake_held_case(hub, int(lease.subject_id), store_resumed_case, lambda _conn: None)
    end_hold(hub, int(lease.subject_id), finish)


def _run_hold_notice(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    told = lease.parameters
    tell_hold(hub, int(lease.subject_id), int(told["message"]), finish, str(told.get("look", "")))


def _run_join(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    told = lease.parameters
    join_requirements(hub, int(lease.subject_id), told.get("changed"), finish, told.get("said"))


def _run_key_probe(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    del lease
    probe_signing_key(hub, finish)


def _run_late_decision(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    tell_late_decision(hub, int(lease.subject_id), lease.case_id, finish)


def _run_of_case(task: Callable[[Hub, int, int, FinishLease], None]) -> _Task:
    """Return the task that is given the row ids of its subject and of its case."""

    def run(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
        if lease.case_id is None:
            raise GatewayError(
                OUR_MISTAKE, f"the case of {lease.subject_type} {lease.subject_id} is not named"
            )
        task(hub, int(lease.subject_id), lease.case_id, finish)

    return run


def _run_late_receipt(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    issue_late_receipt(hub, int(lease.subject_id), lease.parameters["said"], finish)


def _run_delivery_failure(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    issue_delivery_failure(hub, int(lease.subject_id), lease.parameters["said"], finish)


def _run_split_failure(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    fail_split(hub, int(lease.subject_id), lease.parameters["said"], finish)


def _run_reminder(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    send_deadline_notice(hub, int(lease.subject_id), lease.parameters["what"], finish)


def _run_settling(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    settle_after_act(hub, int(lease.subject_id), datetime.fromisoformat(lease.parameters["at"]), finish)


def _run_fee_notice(hub: Hub, lease: DeliveryLease, finish: FinishLease) -> None:
    said = (str(lease.parameters["step"]), str(lease.parameters["mark"]))
    notify_of_fee(hub, int(lease.subject_id), said, finish)


_TASKS: Final[dict[str, _Task]] = {
    "admit": _run_by_id(admit_submission),
    "conclude": _run_conclusion,
    "notify": _run_by_id(notify_applicant),
    "end_hold": _run_end_of_hold,
    "tell_hold": _run_hold_notice,
    "wake": _run_waking,
    "join": _run_join,
    "apply_results": _run_by_id(apply_results),
    "customs_notice": _run_by_id(tell_customs_news),
    "late_decision": _run_late_decision,
    "late_inherited": _run_of_case(look_for_late_decision),
    "late_result": _run_of_case(tell_late_result),
    "late_result_inherited": _run_of_case(look_for_late_result),
    "ask_cancel": _run_by_id(ask_after_withdrawal),
    "key": _run_key_probe,
    "receipt": _run_late_receipt,
    "failure": _run_delivery_failure,
    "remind": _run_reminder,
    "settle": _run_settling,
    "fee": _run_fee_notice,
    "tell_payment": _run_by_id(tell_agency_of_payment),
    "join_fragments": _run_by_id(join_fragments),
    "expire_fragments": _run_by_id(expire_fragments),
    "drop_fragments": _run_by_id(drop_fragments),
    "fail_split": _run_split_failure,
}


class LocalAgent:
    """Runs one task of the hub's own; a task that fails is a fault of ours and is repeated."""

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

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        """Leave the task to an operator.

        A message that could not be admitted becomes FAILED, and its sender is told (ebMS 2.0 §6.5.7).
        """
        delivery, problem = what.delivery, what.problem.problem.id
        task = str(delivery.parameters.get("task"))
        if task == "admit":
            message = int(delivery.subject_id)
            row = messages.find_by_id(conn, message)
            if row is not None and row.state == "ACCEPTED":
                messages.apply_event(conn, message, StateEvent("fail", what.at, _ACTOR, problem), problem)
                # What went wrong in detail is ours, and not for the sender.
                told = GatewayError(what.problem.problem, "the message is stored and was not processed")
                queue_delivery_failure(conn, message, told, what.at)
            free_next_admission(conn, message, delivery.id)
        data = {"task": task[:40], "problem": problem}
        record_evidence(conn, "failed", delivery.subject_type, delivery.subject_id, None, data, what.at)
