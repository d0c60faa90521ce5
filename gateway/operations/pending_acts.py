"""Acts that need a second person: one proposes, another with the right approves or rejects.

The second person is another account, whoever is quicker: the row of the act is claimed by one statement
in the transaction that does the act, so that two approvals do it once, and a failed one leaves it waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine

from gateway.config import Settings
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.operations.account_acts import check_other_person
from gateway.operations.act_kinds import ActOrder, describe_order, perform_order, prepare_order
from gateway.operations.audited_changes import Act, open_change
from gateway.store import (
    ActDecision,
    AuditEntry,
    NewOperatorAct,
    audit_log,
    operator_acts,
    read_transaction,
    write_transaction,
)

__all__ = ["Operator", "OperatorDesk", "make_order"]

_ROLE: Final = "operator"
_COMMIT: Final = "console.act"


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who acts: the account with its name, and the network of the request."""

    account: int
    name: str
    network: str


def make_order(row: Any) -> ActOrder:
    """Return the order of a stored act."""
    return ActOrder(row.act, row.parameters, row.content, row.content_name or "")


@dataclass(frozen=True, slots=True)
class OperatorDesk:
    """Does acts of operators on the console, at once or after a second person has approved them.

    `second_person` contains the words of the acts that need one.
    """

    engine: Engine
    settings: Settings
    clock: Callable[[], datetime]
    second_person: frozenset[str]

    def submit_order(self, order: ActOrder, by: Operator, reason: str) -> tuple[int | None, str]:
        """Do an act, or store it for a second person; return its number in that case, and a sentence."""
        folder = prepare_order(order, self.settings, self.clock())
        if order.act in self.second_person:
            return self._propose(order, by, reason), describe_order(order)
        with open_change(
            self.engine, self.settings, self._make_act(order, by, reason), _COMMIT, self.clock()
        ) as change:
            return None, perform_order(change, order, folder)

    def store_draft(self, order: ActOrder, by: Operator) -> int:
        """Store an uploaded act for a look before it is proposed or done; return its number."""
        with write_transaction(self.engine, "console.draft") as conn:
            return operator_acts.insert_act(conn, self._make_row(order, by, "DRAFT", None), self.clock())

    def confirm_draft(self, number: int, by: Operator, reason: str) -> tuple[bool, str]:
        """Do a draft of this person, or leave it to a second person; return whether it was done, and what."""
        order = make_order(self._find(number))
        now = self.clock()
        folder = prepare_order(order, self.settings, now)
        if order.act in self.second_person:
            with write_transaction(self.engine, "console.proposal") as conn:
                if not operator_acts.confirm_draft(conn, number, by.account, reason, now):
                    raise _make_lost_error(number)
                self._record_proposal(conn, order, by, reason)
            return False, describe_order(order)
        act = self._make_act(order, by, reason)
        with open_change(self.engine, self.settings, act, _COMMIT, now) as change:
            drafted = operator_acts.confirm_draft(change.conn, number, by.account, reason, now)
            decision = ActDecision(by.account, now, reason)
            if not drafted or not operator_acts.end_act(change.conn, number, "DONE", decision, alone=True):
                raise _make_lost_error(number)
            sentence = perform_order(change, order, folder)
            operator_acts.set_outcome(change.conn, number, sentence)
        return True, sentence

    def approve_act(self, number: int, by: Operator, reason: str) -> str:
        """Do an act that another person proposed; return what was done.

        Raises GW705 when it waits no longer, or when this person proposed it.
        """
        row = self._find(number)
        order = make_order(row)
        self._check_second_person(row, by)
        if order.act == "account role":
            check_other_person(order.parameters, by.account)
        now = self.clock()
        folder = prepare_order(order, self.settings, now)
        words = "; ".join(
            one for one in (row.reason, reason, f"proposed by {row.proposer} as act {number}") if one
        )
        act = self._make_act(order, by, words)
        with open_change(self.engine, self.settings, act, _COMMIT, now) as change:
            if not operator_acts.end_act(change.conn, number, "DONE", ActDecision(by.account, now, reason)):
                raise _make_lost_error(number)
            sentence = perform_order(change, order, folder)
            operator_acts.set_outcome(change.conn, number, sentence)
        return sentence

    def end_act(self, number: int, by: Operator, state: str, reason: str) -> None:
        """Reject an act of another person, or withdraw one's own; raises GW705 when it waits no longer."""
        row, now = self._find(number), self.clock()
        if state == "REJECTED":
            self._check_second_person(row, by)
        with write_transaction(self.engine, "console.act_ended") as conn:
            if not operator_acts.end_act(conn, number, state, ActDecision(by.account, now, reason)):
                raise _make_lost_error(number)
            operator_acts.set_outcome(conn, number, "")
            if row.state != "DRAFT":
                self._record(conn, make_order(row), by, reason, state.lower())

    def _propose(self, order: ActOrder, by: Operator, reason: str) -> int:
        with write_transaction(self.engine, "console.proposal") as conn:
            number = operator_acts.insert_act(
                conn, self._make_row(order, by, "PENDING", reason), self.clock()
            )
            self._record_proposal(conn, order, by, reason)
        return number

    def _find(self, number: int) -> Any:
        with read_transaction(self.engine) as conn:
            row = operator_acts.find_act(conn, number)
        if row is None:
            raise GatewayError(TRANSITION_REFUSED, f"there is no act {number}", "act")
        return row

    def _check_second_person(self, row: Any, by: Operator) -> None:
        if row.proposed_by == by.account:
            raise GatewayError(TRANSITION_REFUSED, "who proposes an act cannot decide on it", f"act {row.id}")

    def _make_row(self, order: ActOrder, by: Operator, state: str, reason: str | None) -> NewOperatorAct:
        return NewOperatorAct(
            order.act,
            describe_order(order),
            dict(order.parameters),
            by.account,
            state,
            reason,
            order.content,
            order.content_name or None,
        )

    def _make_act(self, order: ActOrder, by: Operator, reason: str) -> Act:
        return Act(order.verb, by.name, None, reason, by.network)

    def _record_proposal(self, conn: Any, order: ActOrder, by: Operator, reason: str) -> None:
        self._record(conn, order, by, reason, "proposed")

    def _record(self, conn: Any, order: ActOrder, by: Operator, reason: str, outcome: str) -> None:
        entry = AuditEntry(
            by.name, _ROLE, order.verb, describe_order(order), outcome, by.network, reason=reason
        )
        audit_log.record_action(conn, entry, self.clock())


def _make_lost_error(number: int) -> GatewayError:
    return GatewayError(TRANSITION_REFUSED, f"act {number} does not wait any more, or not for you", "act")
