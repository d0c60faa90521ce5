"""Acts that need a second person: one sees the effect of an act and proposes it, another decides.

The second person has another account. The row of the act is taken by one statement in the transaction
that does the act: two approvals at one time do the act once, and an approval that fails leaves it waiting.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.agreements import AgreementDocument, AgreementFinding, read_agreement
from gateway.config import Settings
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.hub import open_active_mappings, read_mapping_files
from gateway.operations.account_acts import check_no_self_approval
from gateway.operations.act_kinds import (
    ActOrder,
    describe_mapping_order,
    describe_order,
    perform_act,
    read_order_mappings,
    read_uploaded_mappings,
)
from gateway.operations.agreement_acts import find_load_problem, list_agreement_findings
from gateway.operations.audited_changes import Act, open_change
from gateway.operations.mapping_activation import open_uploaded_mappings
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
_MAX_LINES: Final = 2_000


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
    conn: Connection, settings: Settings, file_octets: bytes, file_name: str, at: datetime
) -> tuple[ActOrder, tuple[AgreementFinding, ...]]:
    """Return the act that loads an agreement, and the findings on it; raises GW305 for a file that is none.

    Warnings do not refuse the file: the person who confirms the act has seen them.
    """
    document = read_agreement(file_octets, file_name)
    parameters = {"agreements": _list_agreement_ids(document), "accepted": True}
    return ActOrder("agreement load", parameters, file_octets, file_name), list_agreement_findings(
        conn, settings, document, at
    )


def draft_mappings(
    conn: Connection,
    settings: Settings,
    file_octets: bytes,
    file_name: str,
    removed_documents: Sequence[str],
    at: datetime,
) -> ActOrder:
    """Return the act that puts mappings into force; raises GW502 and GW507 as `gateway map use` does.

    `removed_documents` are the documents that may go with them.
    """
    folder = read_uploaded_mappings(file_octets, settings, at)
    parameters = describe_mapping_order(conn, folder, removed_documents, at)
    # Who confirms has seen them: the page of the act shows them.
    parameters["changes"]["warnings"] = [
        str(contract) for contract in find_unfit_contracts(settings, folder.bundle)
    ]
    return ActOrder("map use", parameters, file_octets, file_name)


def _list_agreement_ids(document: AgreementDocument) -> list[str]:
    return list(dict.fromkeys(pmode.agreement for pmode in document.pmodes))


def read_draft_preview(
    conn: Connection, settings: Settings, act_row: OperatorActRow, at: datetime
) -> ActPreview | None:
    """Return the effect of a stored act; None for an act without a file, or an act that has ended."""
    if act_row.content is None:
        return None
    if act_row.act == "agreement load":
        return _preview_agreement(conn, settings, act_row, act_row.content, at)
    lines = _compare_mappings(conn, act_row.content, at)
    return ActPreview(
        changes=act_row.parameters["changes"], difference=lines[:_MAX_LINES], is_cut=len(lines) > _MAX_LINES
    )


def _preview_agreement(
    conn: Connection, settings: Settings, act_row: OperatorActRow, file_octets: bytes, at: datetime
) -> ActPreview:
    """Return the findings on an uploaded agreement, and its difference from the agreements in force."""
    document = read_agreement(file_octets, act_row.content_name or "")
    findings = list_agreement_findings(conn, settings, document, at)
    active_agreements = [
        agreements.find_agreement(conn, agreement_id) for agreement_id in act_row.parameters["agreements"]
    ]
    active_octets = b"".join(
        {
            agreement.sha256: agreement.source for agreement in active_agreements if agreement is not None
        }.values()
    )
    lines = _compare_texts(active_octets, file_octets)
    return ActPreview(
        findings,
        difference=lines[:_MAX_LINES],
        problem=find_load_problem(findings, act_row.content_name or "", accepts_warnings=True),
        is_cut=len(lines) > _MAX_LINES,
    )


def _compare_mappings(conn: Connection, file_octets: bytes, at: datetime) -> tuple[DifferenceLine, ...]:
    """Return the lines that differ, file by file; after more than `_MAX_LINES`, leave further files out."""
    active_files = read_mapping_files(open_active_mappings(conn, at))
    new_files = read_mapping_files(open_uploaded_mappings(file_octets).folder)
    lines: list[DifferenceLine] = []
    for file_name in sorted(active_files.keys() | new_files.keys()):
        if active_files.get(file_name) != new_files.get(file_name) and len(lines) <= _MAX_LINES:
            lines.append(DifferenceLine("@", file_name))
            lines += _compare_texts(active_files.get(file_name, b""), new_files.get(file_name, b""))
    return tuple(lines)


def _compare_texts(before: bytes, after: bytes) -> tuple[DifferenceLine, ...]:
    """Return the difference of two texts with three lines around each change."""
    lines_before, lines_after = (
        text_octets.decode("utf-8", "replace").splitlines() for text_octets in (before, after)
    )
    difference = difflib.unified_diff(lines_before, lines_after, lineterm="", n=3)
    return tuple(
        DifferenceLine(
            "@" if line.startswith("@@") else line[:1], line if line.startswith("@@") else line[1:]
        )
        for line in difference
        if not line.startswith(("--- ", "+++ "))
    )


_ACT_COMMIT: Final = "console.act"
#: Uploads of one person that are neither done nor rejected.
MAX_UPLOADS: Final = 10


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who acts: the account with its name, the network of the request, and the role in the audit."""

    account: int
    name: str
    network: str
    role: str = "operator"


def make_order(act_row: OperatorActRow) -> ActOrder:
    """Return the order of a stored act."""
    return ActOrder(act_row.act, act_row.parameters, act_row.content, act_row.content_name or "")


@dataclass(frozen=True, slots=True)
class OperatorDesk:
    """Does acts of operators on the console, at once or after a second person has approved them.

    `second_person_acts` contains the words of the acts that need one.
    """

    engine: Engine
    settings: Settings
    clock: Callable[[], datetime]
    second_person_acts: frozenset[str]

    def submit_order(self, order: ActOrder, operator: Operator, reason: str) -> tuple[int | None, str]:
        """Do an act, or store it for a second person; return its number in that case, and a sentence."""
        folder = read_order_mappings(order, self.settings, self.clock())
        if order.act in self.second_person_acts:
            return self.propose_order(order, operator, reason), describe_order(order)
        with open_change(
            self.engine, self.settings, self._make_act(order, operator, reason), _ACT_COMMIT, self.clock()
        ) as change:
            return None, perform_act(change, order, folder)

    def propose_order(self, order: ActOrder, operator: Operator, reason: str) -> int:
        """Store an order that waits for a second person, with its audit row; return the id of the act."""
        with write_transaction(self.engine, "console.proposal") as conn:
            act_id = operator_acts.insert_act(
                conn, self._make_row(order, operator, "PENDING", reason), self.clock()
            )
            self._record_proposal(conn, order, operator, reason)
        return act_id

    def store_draft(self, order: ActOrder, operator: Operator) -> int:
        """Store an uploaded act for a look before it is proposed or done; return its number.

        Where the person has many, it takes the place of the oldest that was not confirmed. Raises GW705
        where all of them wait for a second person.
        """
        with write_transaction(self.engine, "console.draft") as conn:
            uploads = operator_acts.list_uploads(conn, operator.account)
            draft_ids = [row.id for row in uploads if row.state == "DRAFT"]
            if len(uploads) - len(draft_ids) >= MAX_UPLOADS:
                detail = f"{MAX_UPLOADS} uploads of {operator.name} wait for a second person"
                raise GatewayError(TRANSITION_REFUSED, detail, "file")
            for act_id in draft_ids[: max(0, len(uploads) - MAX_UPLOADS + 1)]:
                operator_acts.end_act(conn, act_id, "WITHDRAWN", ActDecision(operator.account, self.clock()))
                operator_acts.set_outcome(conn, act_id, "")
            return operator_acts.insert_act(
                conn, self._make_row(order, operator, "DRAFT", None), self.clock()
            )

    def confirm_draft(self, act_id: int, operator: Operator, reason: str) -> tuple[bool, str]:
        """Do a draft of this person, or leave it to a second person.

        Return whether the act was done, and its result as a sentence, or the subject of the act that waits.
        """
        order = make_order(self._load_act(act_id))
        now = self.clock()
        folder = read_order_mappings(order, self.settings, now)
        if order.act in self.second_person_acts:
            with write_transaction(self.engine, "console.proposal") as conn:
                if not operator_acts.confirm_draft(conn, act_id, operator.account, reason, now):
                    raise _make_not_waiting_error(act_id)
                self._record_proposal(conn, order, operator, reason)
            return False, describe_order(order)
        act = self._make_act(order, operator, reason)
        with open_change(self.engine, self.settings, act, _ACT_COMMIT, now) as change:
            is_confirmed = operator_acts.confirm_draft(change.conn, act_id, operator.account, reason, now)
            decision = ActDecision(operator.account, now, reason)
            if not is_confirmed or not operator_acts.end_act(
                change.conn, act_id, "DONE", decision, is_allowed_alone=True
            ):
                raise _make_not_waiting_error(act_id)
            outcome_text = perform_act(change, order, folder)
            operator_acts.set_outcome(change.conn, act_id, outcome_text)
        return True, outcome_text

    def approve_act(self, act_id: int, operator: Operator, reason: str, link_code: str = "") -> str:
        """Do an act that another person proposed; return its result as a sentence.

        `link_code` is the second part of the link that the act makes good. Raises GW705 when the act waits no
        longer, or when this person proposed it.
        """
        act_row = self._load_act(act_id)
        order = make_order(act_row)
        self._check_second_person(act_row, operator)
        if order.act.startswith("account "):
            check_no_self_approval(order.parameters, operator.account)
            at_approval = {"code": link_code, "proposer": act_row.proposed_by}
            order = replace(order, parameters={**order.parameters, **at_approval})
        now = self.clock()
        folder = read_order_mappings(order, self.settings, now)
        full_reason = "; ".join(
            part
            for part in (act_row.reason, reason, f"proposed by {act_row.proposer} as act {act_id}")
            if part
        )
        act = self._make_act(order, operator, full_reason)
        with open_change(self.engine, self.settings, act, _ACT_COMMIT, now) as change:
            if not operator_acts.end_act(
                change.conn, act_id, "DONE", ActDecision(operator.account, now, reason)
            ):
                raise _make_not_waiting_error(act_id)
            outcome_text = perform_act(change, order, folder)
            operator_acts.set_outcome(change.conn, act_id, outcome_text)
        return outcome_text

    def end_act(self, act_id: int, operator: Operator, end_state: str, reason: str) -> None:
        """Reject an act of another person, or withdraw one's own; raises GW705 when it waits no longer."""
        act_row, now = self._load_act(act_id), self.clock()
        if end_state == "REJECTED":
            self._check_second_person(act_row, operator)
        with write_transaction(self.engine, "console.act_ended") as conn:
            if not operator_acts.end_act(conn, act_id, end_state, ActDecision(operator.account, now, reason)):
                raise _make_not_waiting_error(act_id)
            operator_acts.set_outcome(conn, act_id, "")
            if act_row.state != "DRAFT":
                self._record_outcome(conn, make_order(act_row), operator, reason, end_state.lower())

    def _load_act(self, act_id: int) -> OperatorActRow:
        with read_transaction(self.engine) as conn:
            act_row = operator_acts.find_act(conn, act_id)
        if act_row is None:
            raise GatewayError(TRANSITION_REFUSED, f"there is no act {act_id}", "act")
        return act_row

    def _check_second_person(self, act_row: OperatorActRow, operator: Operator) -> None:
        if act_row.proposed_by == operator.account:
            raise GatewayError(
                TRANSITION_REFUSED, "who proposes an act cannot decide on it", f"act {act_row.id}"
            )

    def _make_row(
        self, order: ActOrder, operator: Operator, act_state: str, reason: str | None
    ) -> NewOperatorAct:
        """Return the database row of a new act; `act_state` is its first state, such as PENDING."""
        return NewOperatorAct(
            order.act,
            describe_order(order),
            dict(order.parameters),
            operator.account,
            act_state,
            reason,
            order.file_octets,
            order.file_name or None,
        )

    def _make_act(self, order: ActOrder, operator: Operator, reason: str) -> Act:
        return Act(order.verb, operator.name, None, reason, operator.network)

    def _record_proposal(self, conn: Connection, order: ActOrder, operator: Operator, reason: str) -> None:
        self._record_outcome(conn, order, operator, reason, "proposed")

    def _record_outcome(
        self, conn: Connection, order: ActOrder, operator: Operator, reason: str, act_outcome: str
    ) -> None:
        """Write the audit row of a step that does not do the act: `act_outcome` is proposed or its end."""
        entry = AuditEntry(
            operator.name,
            operator.role,
            order.verb,
            describe_order(order),
            act_outcome,
            operator.network,
            reason=reason,
        )
        audit_log.record_action(conn, entry, self.clock())


def _make_not_waiting_error(act_id: int) -> GatewayError:
    return GatewayError(TRANSITION_REFUSED, f"act {act_id} does not wait any more, or not for you", "act")
