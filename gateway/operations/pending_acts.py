"""Acts that need a second person: one sees the effect of an act and proposes it, another decides.

The second person has another account. The row of the act is taken by one statement in the transaction
that does the act: two approvals at one time do the act once, and an approval that fails leaves it waiting.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.agreements import AgreementDocument, AgreementFinding, read_agreement
from gateway.config import Settings
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.hub import open_active_mappings, read_mapping_files
from gateway.operations.act_kinds import (
    ActOrder,
    describe_mapping_order,
    describe_order,
    perform_order,
    prepare_order,
    read_uploaded_mappings,
)
from gateway.operations.agreement_acts import find_load_problem, judge_agreement
from gateway.operations.audited_changes import Act, open_change
from gateway.operations.mapping_activation import open_offered_mappings
from gateway.operations.operator_acts import check_other_person
from gateway.operations.partner_findings import find_unfit_contracts
from gateway.store import (
    ActDecision,
    AuditEntry,
    NewOperatorAct,
    OperatorActRow,
    agreements,
    audit_log,
    operator_acts,
    read_transaction,
    write_transaction,
)

#: Lines of a difference that a page shows.
_MOST_LINES: Final = 2_000


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """A line of a difference: ``+`` new, ``-`` gone, ``@`` a place, or a space."""

    sign: str
    text: str


@dataclass(frozen=True, slots=True)
class ActPreview:
    """The findings on an uploaded file, its difference from the content in force, and its problem, if any."""

    findings: tuple[AgreementFinding, ...] = ()
    changes: Mapping[str, Any] | None = None
    difference: tuple[DifferenceLine, ...] = ()
    problem: GatewayError | None = None
    #: Whether more lines differ than are shown.
    is_cut: bool = False


def draft_agreement(
    conn: Connection, settings: Settings, content: bytes, name: str, at: datetime
) -> tuple[ActOrder, tuple[AgreementFinding, ...]]:
    """Return the act that loads an agreement, and the findings on it; raises GW305 for a file that is none.

    Warnings do not refuse the file: the person who confirms the act has seen them.
    """
    document = read_agreement(content, name)
    parameters = {"agreements": _list_ids(document), "accepted": True}
    return ActOrder("agreement load", parameters, content, name), judge_agreement(
        conn, settings, document, at
    )


def draft_mappings(
    conn: Connection, settings: Settings, content: bytes, name: str, removed: Sequence[str], at: datetime
) -> ActOrder:
    """Return the act that puts mappings into force; raises GW502 and GW507 as `gateway map use` does.

    `removed` are the documents that may go with them.
    """
    folder = read_uploaded_mappings(content, settings, at)
    parameters = describe_mapping_order(conn, folder, removed, at)
    # Who confirms has seen them: the page of the act shows them.
    parameters["changes"]["warnings"] = [
        str(contract) for contract in find_unfit_contracts(settings, folder.bundle)
    ]
    return ActOrder("map use", parameters, content, name)


def _list_ids(document: AgreementDocument) -> list[str]:
    return list(dict.fromkeys(pmode.agreement for pmode in document.pmodes))


def read_draft_preview(
    conn: Connection, settings: Settings, row: OperatorActRow, at: datetime
) -> ActPreview | None:
    """Return the effect of a stored act; None for an act without a file, or an act that has ended."""
    if row.content is None:
        return None
    if row.act == "agreement load":
        return _preview_agreement(conn, settings, row, row.content, at)
    lines = _compare_mappings(conn, row.content, at)
    return ActPreview(
        changes=row.parameters["changes"], difference=lines[:_MOST_LINES], is_cut=len(lines) > _MOST_LINES
    )


def _preview_agreement(
    conn: Connection, settings: Settings, row: OperatorActRow, content: bytes, at: datetime
) -> ActPreview:
    document = read_agreement(content, row.content_name or "")
    findings = judge_agreement(conn, settings, document, at)
    before = [agreements.find_agreement(conn, name) for name in row.parameters["agreements"]]
    old = b"".join(
        {agreement.sha256: agreement.source for agreement in before if agreement is not None}.values()
    )
    lines = _compare_texts(old, content)
    return ActPreview(
        findings,
        difference=lines[:_MOST_LINES],
        problem=find_load_problem(findings, row.content_name or "", accepted=True),
        is_cut=len(lines) > _MOST_LINES,
    )


def _compare_mappings(conn: Connection, content: bytes, at: datetime) -> tuple[DifferenceLine, ...]:
    before = read_mapping_files(open_active_mappings(conn, at))
    after = read_mapping_files(open_offered_mappings(content).folder)
    lines: list[DifferenceLine] = []
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name) and len(lines) <= _MOST_LINES:
            lines.append(DifferenceLine("@", name))
            lines += _compare_texts(before.get(name, b""), after.get(name, b""))
    return tuple(lines)


def _compare_texts(before: bytes, after: bytes) -> tuple[DifferenceLine, ...]:
    """Return the difference of two texts with three lines around each change."""
    old, new = (content.decode("utf-8", "replace").splitlines() for content in (before, after))
    difference = difflib.unified_diff(old, new, lineterm="", n=3)
    return tuple(
        DifferenceLine(
            "@" if line.startswith("@@") else line[:1], line if line.startswith("@@") else line[1:]
        )
        for line in difference
        if not line.startswith(("--- ", "+++ "))
    )


_ROLE: Final = "operator"
_COMMIT: Final = "console.act"
#: Uploads of one person that are neither done nor rejected.
MOST_UPLOADS: Final = 10


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who acts: the account with its name, and the network of the request."""

    account: int
    name: str
    network: str


def make_order(row: OperatorActRow) -> ActOrder:
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
        """Store an uploaded act for a look before it is proposed or done; return its number.

        Where the person has many, it takes the place of the oldest that was not confirmed. Raises GW705
        where all of them wait for a second person.
        """
        with write_transaction(self.engine, "console.draft") as conn:
            uploads = operator_acts.list_uploads(conn, by.account)
            drafts = [row.id for row in uploads if row.state == "DRAFT"]
            if len(uploads) - len(drafts) >= MOST_UPLOADS:
                detail = f"{MOST_UPLOADS} uploads of {by.name} wait for a second person"
                raise GatewayError(TRANSITION_REFUSED, detail, "file")
            for number in drafts[: max(0, len(uploads) - MOST_UPLOADS + 1)]:
                operator_acts.end_act(conn, number, "WITHDRAWN", ActDecision(by.account, self.clock()))
                operator_acts.set_outcome(conn, number, "")
            return operator_acts.insert_act(conn, self._make_row(order, by, "DRAFT", None), self.clock())

    def confirm_draft(self, number: int, by: Operator, reason: str) -> tuple[bool, str]:
        """Do a draft of this person, or leave it to a second person.

        Return whether the act was done, and its result as a sentence, or the subject of the act that waits.
        """
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
        """Do an act that another person proposed; return its result as a sentence.

        Raises GW705 when the act waits no longer, or when this person proposed it.
        """
        row = self._find(number)
        order = make_order(row)
        self._check_second_person(row, by)
        if order.act == "account role":
            check_other_person(order.parameters, by.account)
        now = self.clock()
        folder = prepare_order(order, self.settings, now)
        full_reason = "; ".join(
            part for part in (row.reason, reason, f"proposed by {row.proposer} as act {number}") if part
        )
        act = self._make_act(order, by, full_reason)
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

    def _find(self, number: int) -> OperatorActRow:
        with read_transaction(self.engine) as conn:
            row = operator_acts.find_act(conn, number)
        if row is None:
            raise GatewayError(TRANSITION_REFUSED, f"there is no act {number}", "act")
        return row

    def _check_second_person(self, row: OperatorActRow, by: Operator) -> None:
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

    def _record_proposal(self, conn: Connection, order: ActOrder, by: Operator, reason: str) -> None:
        self._record(conn, order, by, reason, "proposed")

    def _record(self, conn: Connection, order: ActOrder, by: Operator, reason: str, outcome: str) -> None:
        entry = AuditEntry(
            by.name, _ROLE, order.verb, describe_order(order), outcome, by.network, reason=reason
        )
        audit_log.record_action(conn, entry, self.clock())


def _make_lost_error(number: int) -> GatewayError:
    return GatewayError(TRANSITION_REFUSED, f"act {number} does not wait any more, or not for you", "act")
