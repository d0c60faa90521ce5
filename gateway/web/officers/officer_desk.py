"""The desk of officers: checks and performs their acts on the applications of their agency."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from gateway.accounts import RelyingParty, Right, find_relying_party
from gateway.cases import (
    ACT_EVENTS,
    CANCELLATION_ANSWERS,
    DecisionAct,
    DecisionPurpose,
    OfficerAct,
    ReceiveAct,
    StatusCode,
    build_act_call,
    check_decided_quantities,
    compute_act_digest,
    encode_act,
    get_act_kind,
    may_answer_cancellation,
    may_end_fee,
    may_refund_fee,
)
from gateway.config import Settings
from gateway.errors import (
    ACT_NOT_PERMITTED,
    CODE_UNKNOWN,
    REPLY_UNMATCHED,
    GatewayError,
    raise_resource_problem,
)
from gateway.hub import (
    ActBegin,
    AgencyKeys,
    ApplicationFacts,
    ClaimChange,
    ConfirmedAct,
    Hub,
    ProposalStep,
    approve_proposal,
    begin_act,
    change_work_claim,
    end_proposal,
    load_application_form,
    read_application_facts,
)
from gateway.share import get_data_folder
from gateway.store import (
    AgencyRequestRow,
    OfficerActRow,
    WorkPasses,
    accounts,
    agency_requests,
    officer_work,
    payloads,
    read_transaction,
)
from gateway.web.agency_service import WSDL
from gateway.web.officers.act_confirmation import (
    SESSION_ONLY,
    ActOutcome,
    AgencyPolicy,
    Confirmation,
    ConfirmationMethod,
    Officer,
    check_confirmation,
    validate_certificate,
)
from gateway.web.officers.act_performance import ActPerformer
from gateway.web.officers.application_view import (
    ApplicationView,
    ClaimView,
    make_application_view,
    make_claim_view,
    read_act,
)
from gateway.wire import read_wsdl

_LOG: Final = logging.getLogger(__name__)
#: How many acts are performed in one round; the next round goes on with the others.
_MAX_ACTS_IN_PASS: Final = 100
#: The right that each act of one person alone needs.
_RIGHTS: Final = {
    DecisionPurpose.DECIDE: Right.PROPOSE_DECISIONS,
    DecisionPurpose.CORRECT: Right.CORRECT_DECISIONS,
    DecisionPurpose.REVOKE: Right.CORRECT_DECISIONS,
}


class OfficerDesk:
    """The service for the acts of officers; every method checks agency and rights. Safe for many threads."""

    def __init__(
        self, hub: Hub, settings: Settings, keys: AgencyKeys, party: RelyingParty | None = None
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._keys = keys
        self._party = party
        self._schema = read_wsdl(get_data_folder("wsdl").joinpath(WSDL).read_bytes()).schema
        #: Acts are ordered by the row id of their request, which has one act under way at most.
        self._passes = WorkPasses[int](_MAX_ACTS_IN_PASS)
        self._performer = ActPerformer(hub, keys, self._schema.validate_element)

    # Content of pages.

    def get_policy(self, agency: str) -> AgencyPolicy:
        """Return the policy of an agency: whether two officers decide, and how they must confirm."""
        section = self._settings.agency.get(agency)
        if section is None:
            return AgencyPolicy(four_eyes=False, confirm=frozenset())
        return AgencyPolicy(
            section.four_eyes, frozenset(ConfirmationMethod(method) for method in section.confirm)
        )

    def is_at_console(self, agency: str) -> bool:
        """Return whether an agency decides at the console, by its settings or by an operator's switch."""
        with read_transaction(self._hub.engine) as conn:
            return self._is_at_console(conn, agency)

    def _is_at_console(self, conn: Connection, agency: str) -> bool:
        """Return whether an agency's officers work at the console, by its settings or a stored switch."""
        section = self._settings.agency.get(agency)
        if section is not None and section.console:
            return True
        return officer_work.find_switch(conn, agency) is not None

    def _may_act(self, conn: Connection, agency: str, request: int) -> bool:
        """Return whether officers may act on an application.

        They keep an application that has a call in the mailbox, or a decision of theirs, even after its
        agency is switched back to its own system, which cannot change it.
        """
        return self._is_at_console(conn, agency) or officer_work.find_desk_state(conn, request, agency)[0]

    def list_status_codes(self, act_kind: str, application_number: str) -> tuple[StatusCode, ...]:
        """Return the status codes that an act of this kind may send now; they are those of its case."""
        with read_transaction(self._hub.engine) as conn:
            request = agency_requests.find_by_number(conn, application_number)
            codes = self._list_act_codes(conn, act_kind, request)
            if request is None or act_kind != "receive":
                return codes
            facts = read_application_facts(conn, request.agency, application_number)
        assert facts is not None
        return tuple(status_code for status_code in codes if _may_send_status(facts, status_code))

    def _list_act_codes(
        self, conn: Connection, act_kind: str, request: AgencyRequestRow | None
    ) -> tuple[StatusCode, ...]:
        """Return the status codes for acts of this kind, by the rules of `request` (None: those in force)."""
        rules = self._hub.rules if request is None else self._hub.load_rules_of(conn, request)
        events = ACT_EVENTS.get(act_kind, ())
        return tuple(
            status_code for status_code in rules.status_codes.values() if status_code.event in events
        )

    def read_application(self, agency: str, application_number: str) -> ApplicationView | None:
        """Return an application; None for one of another agency, or one that is not at the console."""
        with read_transaction(self._hub.engine) as conn:
            facts = read_application_facts(conn, agency, application_number)
            if facts is None or not self._may_act(conn, agency, facts.request.id):
                return None
            return make_application_view(conn, facts)

    # Acts.

    def perform_act(
        self,
        officer: Officer,
        application_number: str,
        act: OfficerAct,
        shown_sha256: str,
        confirmation: Confirmation = SESSION_ONLY,
    ) -> ActOutcome:
        """Perform the act of one officer alone, with its call; the outcome says whether it was accepted.

        Raises GW701, GW705, GW706, GW707 or GW708 when the act was not begun, GW402 when its values do
        not fit the contract, GW404 when a quantity does not fit the declared one.
        """
        policy = self.get_policy(officer.agency)
        if isinstance(act, DecisionAct):
            _require_right(officer, _RIGHTS[act.purpose])
            if policy.four_eyes:
                detail = f"{officer.agency} wants two officers for a decision: propose it"
                raise GatewayError(ACT_NOT_PERMITTED, detail, "four_eyes")
            self._require_confirmation_method(policy, confirmation)
        else:
            _require_right(officer, self._find_right(application_number, act))
        act_number = self._begin_act(
            officer, application_number, act, shown_sha256, confirmation, is_proposal=False
        )
        return self._performer.perform_act(act_number)

    def _find_right(self, application_number: str, act: OfficerAct) -> Right:
        """Return the right that an act other than a decision needs: after a decision, that to correct it."""
        if not isinstance(act, ReceiveAct):
            return Right.WORK_ON_APPLICATIONS
        with read_transaction(self._hub.engine) as conn:
            request = agency_requests.find_by_number(conn, application_number)
        decided = request is not None and request.state == "DECIDED"
        return Right.CORRECT_DECISIONS if decided else Right.WORK_ON_APPLICATIONS

    def propose_act(
        self,
        officer: Officer,
        application_number: str,
        act: OfficerAct,
        shown_sha256: str,
        confirmation: Confirmation = SESSION_ONLY,
    ) -> ActOutcome:
        """Propose a decision, which another officer approves; raises as `perform_act` does."""
        if not isinstance(act, DecisionAct):
            raise GatewayError(ACT_NOT_PERMITTED, "only decisions may be proposed", "act")
        _require_right(officer, _RIGHTS[act.purpose])
        act_number = self._begin_act(
            officer, application_number, act, shown_sha256, confirmation, is_proposal=True
        )
        return ActOutcome(act_number, "PROPOSED")

    def _begin_act(
        self,
        officer: Officer,
        application_number: str,
        act: OfficerAct,
        shown_sha256: str,
        confirmation: Confirmation,
        *,
        is_proposal: bool,
    ) -> int:
        """Check the act and store that it was begun, with the confirmation; return the row id of the act."""
        valid_confirmation = validate_certificate(self._hub, officer.account, confirmation)
        self._check_act(officer.agency, application_number, act)
        digest = compute_act_digest(application_number, shown_sha256, act)
        document = encode_act(application_number, shown_sha256, act)
        begin = ActBegin(
            application_number=application_number,
            act=act,
            shown_digest=shown_sha256,
            confirm=lambda conn: check_confirmation(
                conn, officer.account, digest, document, valid_confirmation, self._party
            ),
            is_proposed=is_proposal,
            may_act=lambda conn, request: self._may_act(conn, officer.agency, request),
        )
        return begin_act(self._hub, officer.to_acting_officer(), begin)

    def _check_act(self, agency: str, application_number: str, act: OfficerAct) -> None:
        """Raise if the call of an act breaks the contract, or its quantities do not fit the declared ones."""
        content = build_act_call(act, application_number, application_number, self._hub.clock())
        self._schema.validate_element(content)
        if isinstance(act, DecisionAct) and any(decision.quantity is not None for decision in act.decisions):
            self._check_quantities(agency, application_number, act)
        act_code = getattr(act, "status_code", None)
        if act_code is None:
            return
        with read_transaction(self._hub.engine) as conn:
            request = agency_requests.find_by_number(conn, application_number)
            status_codes = self._list_act_codes(conn, get_act_kind(act), request)
        if act_code not in {status_code.code for status_code in status_codes}:
            detail = f"status code {act_code[:20]!r} does not say what the act does"
            raise GatewayError(CODE_UNKNOWN, detail, "StatusCode")

    def _check_quantities(self, agency: str, application_number: str, act: DecisionAct) -> None:
        """Raise GW404 for a quantity that does not fit the declared one in the agency's application.

        If the application changes between this check and the act, the digest of the shown content differs,
        and the act is refused.
        """
        with read_transaction(self._hub.engine) as conn:
            application = load_application_form(
                self._hub, conn, agency, application_number, marks_changes=False
            )
        if application is not None:
            check_decided_quantities(act, application.list_declared_quantities(), application.units)

    @staticmethod
    def _require_confirmation_method(policy: AgencyPolicy, confirmation: Confirmation) -> None:
        if confirmation.method not in policy.confirm:
            methods = ", ".join(sorted(policy.confirm)) or "nothing"
            detail = f"a decision is confirmed by {methods}, not by {confirmation.method}"
            raise GatewayError(ACT_NOT_PERMITTED, detail, "confirmation")

    def resume_acts(self) -> int:
        """Perform the acts that were intended and not performed, for example before a crash.

        An act that cannot be performed is logged and tried again; it delays no other. Return how many were
        performed.
        """
        performed: list[int] = []

        def get_place(act_row: OfficerActRow) -> int:
            assert act_row.under_way is not None, "an intended act is under way"
            return act_row.under_way

        def list_acts(after_request: int | None, limit: int) -> Sequence[OfficerActRow]:
            with read_transaction(self._hub.engine) as conn:
                return officer_work.list_intended_acts(conn, limit, after_request or 0)

        def perform_or_log(act_row: OfficerActRow) -> bool:
            state = self._try_to_perform(act_row)
            if state == "PERFORMED":
                performed.append(act_row.id)
            return state != "INTENDED"

        self._passes.run_pass(list_acts, get_place, perform_or_log)
        return len(performed)

    def _try_to_perform(self, act_row: OfficerActRow) -> str:
        """Perform an intended act, and return its state afterwards; log an error of this act, raise GW806."""
        try:
            return self._performer.perform_act(act_row.id).state
        except Exception as mistake:
            raise_resource_problem(mistake)
            act_fields = {"act": act_row.id, "partner": act_row.agency}
            _LOG.error("the act of an officer waits: %s", type(mistake).__name__, extra=act_fields)
            return act_row.state

    # Four eyes.

    def approve_proposal(
        self, officer: Officer, proposal: int, digest: str, shown_sha256: str, confirmation: Confirmation
    ) -> ActOutcome:
        """Approve the proposal of another officer, and make the call.

        `digest` and `shown_sha256` are those of the proposal and of the application that the officer saw.
        """
        _require_right(officer, Right.APPROVE_DECISIONS)
        self._require_confirmation_method(self.get_policy(officer.agency), confirmation)
        valid_confirmation = validate_certificate(self._hub, officer.account, confirmation)
        self._check_proposal(officer.agency, proposal)

        def confirm(conn: Connection, content: str) -> ConfirmedAct:
            document = payloads.get_payload_octets(conn, content)
            return check_confirmation(
                conn, officer.account, content, document, valid_confirmation, self._party
            )

        approve_proposal(
            self._hub,
            officer.to_acting_officer(),
            ProposalStep(proposal, digest, shown_sha256),
            confirm,
            lambda conn, request: self._may_act(conn, officer.agency, request),
        )
        return self._performer.perform_act(proposal)

    def _check_proposal(self, agency: str, proposal: int) -> None:
        """Check a proposed act again: an earlier version of the code may have accepted it with any unit."""
        with read_transaction(self._hub.engine) as conn:
            row = officer_work.find_act(conn, proposal)
            if row is None or row.agency != agency:
                return  # `approve_proposal` raises this problem, in its transaction.
            request = agency_requests.find_by_id(conn, row.request_id)
            assert request is not None
            act = read_act(conn, row).act
        self._check_act(agency, request.number, act)

    def return_proposal(self, officer: Officer, proposal: int, digest: str, reason: str) -> None:
        """Return a proposal to its author, with a reason."""
        _require_right(officer, Right.APPROVE_DECISIONS)
        sentence = reason.strip()
        if not sentence:
            raise GatewayError(ACT_NOT_PERMITTED, "a proposal must be returned with a reason", "reason")
        end_proposal(self._hub, officer.to_acting_officer(), ProposalStep(proposal, digest), sentence[:4000])

    def withdraw_proposal(self, officer: Officer, proposal: int, digest: str) -> None:
        """Withdraw one's own proposal."""
        end_proposal(self._hub, officer.to_acting_officer(), ProposalStep(proposal, digest), None)

    # Claims.

    def claim_application(self, officer: Officer, number: str, version: int) -> ClaimView:
        """Assign an application without an officer to this one; `version` is that of the claim shown."""
        _require_right(officer, Right.WORK_ON_APPLICATIONS)
        return self._change_claim(officer, ClaimChange("claim", number, officer.account, version))

    def release_application(self, officer: Officer, number: str, version: int) -> None:
        """Release the officer's claim on an application, so that any officer of the agency can take it."""
        _require_right(officer, Right.WORK_ON_APPLICATIONS)
        anybody = Right.ASSIGN_WORK in officer.rights
        self._change_claim(
            officer, ClaimChange("release", number, None, version, may_change_any_claim=anybody)
        )

    def hand_over_application(
        self, officer: Officer, number: str, to_account: int, version: int
    ) -> ClaimView:
        """Assign an application to another officer of the agency.

        It must be the officer's own application, unless the officer has the right to assign applications.
        """
        _require_right(officer, Right.WORK_ON_APPLICATIONS)
        with read_transaction(self._hub.engine) as conn:
            roles = accounts.list_account_roles(conn, to_account)
        if not any((row.kind, row.organisation) == ("agency", officer.agency) for row in roles):
            raise GatewayError(ACT_NOT_PERMITTED, f"account {to_account} is no officer of {officer.agency}")
        anybody = Right.ASSIGN_WORK in officer.rights
        return self._change_claim(
            officer, ClaimChange("hand over", number, to_account, version, may_change_any_claim=anybody)
        )

    def _change_claim(self, officer: Officer, change: ClaimChange) -> ClaimView:
        """Change who works on an application; raise REPLY_UNMATCHED if the agency does not have it."""
        if self.read_application(officer.agency, change.application_number) is None:
            raise GatewayError(
                REPLY_UNMATCHED, f"{officer.agency} has no application {change.application_number[:40]!r}"
            )
        claim = change_work_claim(self._hub, officer.to_acting_officer(), change)
        with read_transaction(self._hub.engine) as conn:
            return make_claim_view(conn, claim)


def _may_send_status(facts: ApplicationFacts, status_code: StatusCode) -> bool:
    """Return whether an agency may send a status code without a decision now.

    On an application that is decided or held, only a code about a fee, or the answer to a cancellation.
    """
    request = facts.request
    if status_code.code in CANCELLATION_ANSWERS:
        return may_answer_cancellation(request.cancellation, status_code.code)
    if request.state == "DECIDED" and may_refund_fee(status_code, was_paid=facts.was_paid):
        return True
    speaks_freely = request.state != "DECIDED" and not facts.is_held
    return speaks_freely or may_end_fee(status_code, owes_fee=facts.owes_fee)


def _require_right(officer: Officer, right: Right) -> None:
    if right not in officer.rights:
        detail = f"the roles of {officer.name} ({officer.role}) do not have the right {right.value}"
        raise GatewayError(ACT_NOT_PERMITTED, detail, "right")


def build_officer_desk(hub: Hub, settings: Settings, public_url: str) -> OfficerDesk:
    """Return the desk of a hub with these settings; `public_url` is that of the console."""
    keys = AgencyKeys(lambda: settings)
    return OfficerDesk(hub, settings, keys, find_relying_party(public_url))


_SECONDS: Final = 10.0


def keep_resuming_acts(desk: OfficerDesk) -> None:
    """Resume acts now and every ten seconds, in a thread of its own that ends with the process."""
    threading.Thread(target=_resume_forever, args=(desk,), name="officers", daemon=True).start()


def _resume_forever(desk: OfficerDesk) -> None:
    """Resume unfinished acts every `_SECONDS` seconds, without end; log problems."""
    while True:
        try:
            desk.resume_acts()
        except GatewayError as problem:
            _LOG.warning("acts of officers wait: %s", problem)
        except Exception as mistake:  # the thread must go on
            _LOG.error("acts of officers wait: %s", type(mistake).__name__)
        time.sleep(_SECONDS)
