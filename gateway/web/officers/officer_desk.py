"""The desk of officers: what they may do with the applications of their agency, checked and performed."""

from __future__ import annotations

from typing import Any, Final

from lxml import etree
from sqlalchemy import Connection, Row

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
    compute_act_digest,
    encode_act,
    get_act_kind,
    may_answer_cancellation,
    may_end_fee,
    may_refund_fee,
)
from gateway.config import Settings
from gateway.errors import ACT_NOT_PERMITTED, CODE_UNKNOWN, REPLY_UNMATCHED, GatewayError
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
    read_application_facts,
)
from gateway.share import get_data_folder
from gateway.store import (
    accounts,
    agency_requests,
    cases,
    console_mailbox,
    console_switches,
    officer_acts,
    payloads,
    read_transaction,
)
from gateway.web.agency_service import WSDL
from gateway.web.officers.act_confirmation import (
    SESSION_ONLY,
    Confirmation,
    ConfirmationMethod,
    check_confirmation,
)
from gateway.web.officers.act_performance import ActPerformer
from gateway.web.officers.application_view import (
    ApplicationView,
    ClaimView,
    MailboxCall,
    make_application_view,
    make_claim_view,
)
from gateway.web.officers.desk_values import ActOutcome, AgencyPolicy, Officer
from gateway.web.officers.mailbox_documents import CallAttachment, extract_attachments, extract_document
from gateway.wire import read_wsdl

__all__ = ["OfficerDesk", "build_officer_desk"]

#: The right that each act of one person alone needs.
_RIGHTS: Final = {
    DecisionPurpose.DECIDE: Right.PROPOSE_DECISIONS,
    DecisionPurpose.CORRECT: Right.CORRECT_DECISIONS,
    DecisionPurpose.REVOKE: Right.CORRECT_DECISIONS,
}


class OfficerDesk:
    """What officers do; every method checks agency and rights itself. Safe for many threads."""

    def __init__(
        self, hub: Hub, settings: Settings, keys: AgencyKeys, party: RelyingParty | None = None
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._keys = keys
        self._party = party
        self._performer = ActPerformer(hub, keys)
        self._schema = read_wsdl(get_data_folder("wsdl").joinpath(WSDL).read_bytes()).schema

    # What is shown.

    def get_policy(self, agency: str) -> AgencyPolicy:
        """Return what an agency demands of its officers."""
        section = self._settings.agency.get(agency)
        if section is None:
            return AgencyPolicy(False, frozenset())
        return AgencyPolicy(section.four_eyes, frozenset(ConfirmationMethod(one) for one in section.confirm))

    def is_at_console(self, agency: str) -> bool:
        """Return whether an agency decides at the console, by its settings or by an operator's switch."""
        with read_transaction(self._hub.engine) as conn:
            return self._is_at_console(conn, agency)

    def _is_at_console(self, conn: Connection, agency: str) -> bool:
        section = self._settings.agency.get(agency)
        if section is not None and section.console:
            return True
        return console_switches.find_switch(conn, agency) is not None

    def _may_act(self, conn: Connection, agency: str, request: int) -> bool:
        """Return whether an application is in the hands of officers, also after the agency's system is back.

        What rests in the mailbox stays with them, and so does what they decided: its own system cannot
        change that.
        """
        return self._is_at_console(conn, agency) or console_mailbox.find_place(conn, request, agency)[0]

    def list_status_codes(self, kind: str, number: str) -> tuple[StatusCode, ...]:
        """Return the status codes that an act of this kind may send now; they are those of its case."""
        with read_transaction(self._hub.engine) as conn:
            request = agency_requests.find_by_number(conn, number)
            codes = self._list_act_codes(conn, kind, request)
            if request is None or kind != "receive":
                return codes
            facts = read_application_facts(conn, request.agency, number)
        assert facts is not None
        return tuple(one for one in codes if _may_say(facts, one))

    def _list_act_codes(
        self, conn: Connection, kind: str, request: Row[Any] | None
    ) -> tuple[StatusCode, ...]:
        rules = self._hub.rules if request is None else self._hub.load_rules_of(conn, request)
        events = ACT_EVENTS.get(kind, ())
        return tuple(one for one in rules.status_codes.values() if one.event in events)

    def read_application(self, agency: str, number: str) -> ApplicationView | None:
        """Return an application; None for one of another agency, or one that is not at the console."""
        with read_transaction(self._hub.engine) as conn:
            facts = read_application_facts(conn, agency, number)
            if facts is None or not self._may_act(conn, agency, facts.request.id):
                return None
            return make_application_view(conn, facts)

    def read_call_document(self, call: MailboxCall) -> etree._Element:
        """Return the document in a call."""
        return extract_document(self._read_call(call), self._hub.limits)

    def list_call_attachments(self, call: MailboxCall) -> tuple[CallAttachment, ...]:
        """Return the files in a call."""
        return extract_attachments(self._read_call(call), self._hub.limits)

    def _read_call(self, call: MailboxCall) -> bytes:
        with read_transaction(self._hub.engine) as conn:
            return payloads.get_payload_octets(conn, call.payload_sha256)

    # Acts.

    def perform_act(
        self,
        officer: Officer,
        number: str,
        act: OfficerAct,
        shown: str,
        confirmation: Confirmation = SESSION_ONLY,
    ) -> ActOutcome:
        """Let one officer act alone, and make the call; the outcome says whether it was accepted.

        Raises GW701, GW705, GW706, GW707 or GW708 when the act was not begun, GW401 when its values do
        not fit the contract.
        """
        policy = self.get_policy(officer.agency)
        if isinstance(act, DecisionAct):
            _require_right(officer, _RIGHTS[act.purpose])
            if policy.four_eyes:
                detail = f"{officer.agency} wants two officers for a decision: propose it"
                raise GatewayError(ACT_NOT_PERMITTED, detail, "four_eyes")
            self._require_method(policy, confirmation)
        else:
            _require_right(officer, self._find_right(number, act))
        begun = self._begin_act(officer, (number, act, shown), confirmation, proposed=False)
        return self._perform_begun_act(begun)

    def _find_right(self, number: str, act: OfficerAct) -> Right:
        """Return the right that an act needs which is no decision: of what is decided an approver speaks."""
        if not isinstance(act, ReceiveAct):
            return Right.WORK_ON_APPLICATIONS
        with read_transaction(self._hub.engine) as conn:
            request = agency_requests.find_by_number(conn, number)
        decided = request is not None and request.state == "DECIDED"
        return Right.CORRECT_DECISIONS if decided else Right.WORK_ON_APPLICATIONS

    def propose_act(
        self,
        officer: Officer,
        number: str,
        act: OfficerAct,
        shown: str,
        confirmation: Confirmation = SESSION_ONLY,
    ) -> ActOutcome:
        """Propose a decision, which another officer approves; raises as `perform_act` does."""
        if not isinstance(act, DecisionAct):
            raise GatewayError(ACT_NOT_PERMITTED, "only decisions are proposed", "act")
        _require_right(officer, _RIGHTS[act.purpose])
        begun = self._begin_act(officer, (number, act, shown), confirmation, proposed=True)
        return self._make_outcome(begun, "PROPOSED", None)

    def _begin_act(
        self, officer: Officer, wanted: tuple[str, OfficerAct, str], said: Confirmation, *, proposed: bool
    ) -> int:
        number, act, shown = wanted
        self._check_act(number, act)
        about = (compute_act_digest(number, shown, act), encode_act(number, shown, act))
        begin = ActBegin(
            number=number,
            act=act,
            shown=shown,
            confirm=lambda conn: check_confirmation(conn, officer.account, about, said, self._party),
            proposed=proposed,
            may_act=lambda conn, request: self._may_act(conn, officer.agency, request),
        )
        return begin_act(self._hub, officer.to_acting_officer(), begin)

    def _check_act(self, number: str, act: OfficerAct) -> None:
        """Raise where the call of an act would not fit the contract."""
        content = build_act_call(act, number, number, self._hub.clock())
        self._schema.validate_element(content)
        code = getattr(act, "status_code", None)
        if code is None:
            return
        with read_transaction(self._hub.engine) as conn:
            request = agency_requests.find_by_number(conn, number)
            known = self._list_act_codes(conn, get_act_kind(act), request)
        if code not in {one.code for one in known}:
            detail = f"status code {code[:20]!r} does not say what the act does"
            raise GatewayError(CODE_UNKNOWN, detail, "StatusCode")

    @staticmethod
    def _require_method(policy: AgencyPolicy, said: Confirmation) -> None:
        if said.method not in policy.confirm:
            ways = ", ".join(sorted(policy.confirm)) or "nothing"
            detail = f"a decision is confirmed by {ways}, not by {said.method}"
            raise GatewayError(ACT_NOT_PERMITTED, detail, "confirmation")

    def _perform_begun_act(self, act: int) -> ActOutcome:
        done = self._performer.perform_act(act)
        return self._make_outcome(act, done.state, done.problem)

    def _make_outcome(self, act: int, state: str, problem: GatewayError | None) -> ActOutcome:
        with read_transaction(self._hub.engine) as conn:
            row = officer_acts.find_act(conn, act)
            assert row is not None
            request = agency_requests.find_by_id(conn, row.request_id)
            assert request is not None
            case = cases.find_by_id(conn, request.case_id)
        assert case is not None
        return ActOutcome(act, state, problem, str(case.number))

    def resume_acts(self) -> int:
        """Perform the acts that were intended and not performed, for example before a crash."""
        with read_transaction(self._hub.engine) as conn:
            intended = [row.id for row in officer_acts.list_intended(conn)]
        return sum(self._performer.perform_act(act).state == "PERFORMED" for act in intended)

    # Four eyes.

    def approve_proposal(
        self, officer: Officer, proposal: int, digest: str, shown: str, confirmation: Confirmation
    ) -> ActOutcome:
        """Approve what another officer proposed, and make the call.

        `digest` and `shown` are those of the proposal and of the application that the officer saw.
        """
        _require_right(officer, Right.APPROVE_DECISIONS)
        self._require_method(self.get_policy(officer.agency), confirmation)

        def confirm(conn: Connection, content: str) -> ConfirmedAct:
            about = (content, payloads.get_payload_octets(conn, content))
            return check_confirmation(conn, officer.account, about, confirmation, self._party)

        approve_proposal(
            self._hub,
            officer.to_acting_officer(),
            ProposalStep(proposal, digest, shown),
            confirm,
            lambda conn, request: self._may_act(conn, officer.agency, request),
        )
        return self._perform_begun_act(proposal)

    def return_proposal(self, officer: Officer, proposal: int, digest: str, reason: str) -> None:
        """Return a proposal to its author, with a reason."""
        _require_right(officer, Right.APPROVE_DECISIONS)
        words = reason.strip()
        if not words:
            raise GatewayError(ACT_NOT_PERMITTED, "a proposal is returned with a reason", "reason")
        end_proposal(self._hub, officer.to_acting_officer(), ProposalStep(proposal, digest), words[:4000])

    def withdraw_proposal(self, officer: Officer, proposal: int, digest: str) -> None:
        """Withdraw one's own proposal."""
        end_proposal(self._hub, officer.to_acting_officer(), ProposalStep(proposal, digest), None)

    # Claims.

    def claim_application(self, officer: Officer, number: str, version: int) -> ClaimView:
        """Take an application that nobody has; `version` is that of the claim as the officer saw it."""
        _require_right(officer, Right.WORK_ON_APPLICATIONS)
        return self._change_claim(officer, ClaimChange("claim", number, officer.account, version))

    def release_application(self, officer: Officer, number: str, version: int) -> None:
        """Give an application back, so that anybody can take it."""
        _require_right(officer, Right.WORK_ON_APPLICATIONS)
        anybody = Right.ASSIGN_WORK in officer.rights
        self._change_claim(officer, ClaimChange("release", number, None, version, any_claim=anybody))

    def hand_over_application(
        self, officer: Officer, number: str, to_account: int, version: int
    ) -> ClaimView:
        """Hand an application to another officer of the agency: one's own, or any by the right to assign."""
        _require_right(officer, Right.WORK_ON_APPLICATIONS)
        with read_transaction(self._hub.engine) as conn:
            roles = accounts.list_roles_of(conn, to_account)
        if not any((row.kind, row.organisation) == ("agency", officer.agency) for row in roles):
            raise GatewayError(ACT_NOT_PERMITTED, f"account {to_account} is no officer of {officer.agency}")
        anybody = Right.ASSIGN_WORK in officer.rights
        return self._change_claim(
            officer, ClaimChange("hand over", number, to_account, version, any_claim=anybody)
        )

    def _change_claim(self, officer: Officer, change: ClaimChange) -> ClaimView:
        if self.read_application(officer.agency, change.number) is None:
            raise GatewayError(REPLY_UNMATCHED, f"{officer.agency} has no application {change.number[:40]!r}")
        claim = change_work_claim(self._hub, officer.to_acting_officer(), change)
        with read_transaction(self._hub.engine) as conn:
            return make_claim_view(conn, claim)


def _may_say(facts: ApplicationFacts, code: StatusCode) -> bool:
    """Return whether an agency may say a status code now that decides nothing.

    Of what is decided, or has not arrived, only a fee can be spoken of.
    """
    request = facts.request
    if code.code in CANCELLATION_ANSWERS:
        return may_answer_cancellation(request.cancellation, code.code)
    if request.state == "DECIDED" and may_refund_fee(code, was_paid=facts.was_paid):
        return True
    speaks_freely = request.state != "DECIDED" and not facts.is_held
    return speaks_freely or may_end_fee(code, owes_fee=facts.owes_fee)


def _require_right(officer: Officer, right: Right) -> None:
    if right not in officer.rights:
        detail = f"the roles of {officer.name} ({officer.role}) do not have the right {right.value}"
        raise GatewayError(ACT_NOT_PERMITTED, detail, "right")


def build_officer_desk(hub: Hub, settings: Settings, public_url: str) -> OfficerDesk:
    """Return the desk of a hub with these settings; `public_url` is that of the console."""
    keys = AgencyKeys(lambda: settings)
    return OfficerDesk(hub, settings, keys, find_relying_party(public_url))
