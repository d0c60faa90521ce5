"""What the pages of acts share: the officer, the application as it is shown, and how an act is confirmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from flask import abort, request
from sqlalchemy import Connection

from gateway.accounts import Right
from gateway.cases import ACT_EVENTS, OfficerAct, compute_act_digest, encode_act, encode_batch
from gateway.errors import GatewayError
from gateway.hub import ApplicationForm, load_application_form
from gateway.store import accounts, read_transaction
from gateway.web.console.client_connection import find_client_certificate
from gateway.web.console.page_guards import get_visitor
from gateway.web.console.passkey_challenges import offer_confirmation, take_confirmation
from gateway.web.console.work.act_forms import FormContext
from gateway.web.officers import SESSION_ONLY, ApplicationView, Confirmation, ConfirmationMethod, Officer

if TYPE_CHECKING:
    from gateway.web.console.console_services import ConsoleServices
    from gateway.web.console.visitor_session import Visitor
    from gateway.web.officers import OfficerDesk

__all__ = [
    "ACT_RIGHTS",
    "OWN_FIELDS",
    "ConfirmationOffer",
    "DecidedAct",
    "WorkDesk",
    "describe_refusal",
    "encode_acts",
    "get_officer",
    "label_pointers",
    "list_possible_acts",
    "load_application",
]

#: The acts of officers, and the right that each one needs.
ACT_RIGHTS: Final = {
    "receive": Right.WORK_ON_APPLICATIONS,
    "ask": Right.WORK_ON_APPLICATIONS,
    "inspect": Right.WORK_ON_APPLICATIONS,
    "fee": Right.WORK_ON_APPLICATIONS,
    "decide": Right.PROPOSE_DECISIONS,
    "correct": Right.CORRECT_DECISIONS,
    "revoke": Right.CORRECT_DECISIONS,
}
#: Fields of the page itself, which are no part of what an officer fills in.
OWN_FIELDS: Final = frozenset({"form_token", "step", "shown", "digest", "confirm", "passkey_answer"})
#: Acts on an application that waits, and on one that is decided.
_WAITING: Final = ("receive", "ask", "inspect", "fee", "decide")
_DECIDED: Final = ("correct", "revoke")


@dataclass(frozen=True, slots=True)
class DecidedAct:
    """An act on an application, as it was shown."""

    number: str
    shown: str
    act: OfficerAct

    @property
    def digest(self) -> str:
        """Return the digest of what is decided."""
        return compute_act_digest(self.number, self.shown, self.act)

    @property
    def octets(self) -> bytes:
        """Return what is decided, as octets."""
        return encode_act(self.number, self.shown, self.act)


@dataclass(frozen=True, slots=True)
class ConfirmationOffer:
    """The ways in which a person can confirm now, and the options for the person's passkey."""

    methods: tuple[str, ...]
    wanted: tuple[str, ...]
    passkey_options: str | None = None


class WorkDesk:
    """The desk as the pages use it."""

    def __init__(self, services: ConsoleServices, desk: OfficerDesk) -> None:
        self.services = services
        self.desk = desk

    def open_application(self, number: str) -> tuple[ApplicationForm, ApplicationView]:
        """Return an application with its form; 404 for another agency's, and one decided elsewhere."""
        with read_transaction(self.services.engine) as conn:
            form = load_application(self.services, conn, number)
        view = self.desk.read_application(get_visitor().organisation.code, number)
        if view is None:
            abort(HTTPStatus.NOT_FOUND)
        return form, view

    def make_context(self, kind: str, form: ApplicationForm, view: ApplicationView) -> FormContext:
        """Return what the form of an act is about."""
        chooses = kind in ACT_EVENTS
        codes = [one.code for one in self.desk.list_status_codes(kind, view.number)] if chooses else []
        zone = ZoneInfo(self.services.settings.hub.time_zone)
        return FormContext(view.required, label_pointers(form), codes, self.services.clock(), zone)

    def wants_two_officers(self, kind: str) -> bool:
        """Return whether an act of this kind is proposed by one and approved by another."""
        decides = kind in ("decide", "correct", "revoke")
        return decides and self.desk.get_policy(get_visitor().organisation.code).four_eyes

    def offer_confirmation(self, acts: Sequence[DecidedAct], *, decides: bool) -> ConfirmationOffer:
        """Return how these acts can be confirmed; what decides nothing needs the session alone."""
        if not decides:
            return ConfirmationOffer(("session",), ("session",))
        visitor = get_visitor()
        policy = self.desk.get_policy(visitor.organisation.code)
        wanted = tuple(sorted(one.value for one in policy.confirm))
        options = None
        if ConfirmationMethod.PASSKEY in policy.confirm:
            options = offer_confirmation(self.services, visitor, encode_acts(acts))
        possible = {
            "session": True,
            "passkey": options is not None,
            "certificate": "certificate" in wanted and self._shows_certificate(visitor.account),
        }
        return ConfirmationOffer(tuple(one for one in wanted if possible[one]), wanted, options)

    def _shows_certificate(self, account: int) -> bool:
        """Return whether this connection shows the client certificate of an account."""
        shown = find_client_certificate(request)
        if shown is None:
            return False
        with read_transaction(self.services.engine) as conn:
            row = accounts.find_by_id(conn, account)
        return row is not None and row.certificate_sha256 == shown

    def take_confirmation(self, acts: Sequence[DecidedAct], *, decides: bool) -> Confirmation:
        """Return the confirmation that this request brings."""
        method = request.form.get("confirm")
        if decides and method == "certificate":
            shown = find_client_certificate(request)
            return Confirmation(ConfirmationMethod.CERTIFICATE, certificate_sha256=shown)
        if not decides or method != "passkey":
            return SESSION_ONLY
        visitor, answer = get_visitor(), request.form.get("passkey_answer", "")
        content = encode_acts(acts)

        def take_answer(conn: Connection) -> bytes:
            return take_confirmation(conn, self.services, visitor, content, answer).evidence

        return Confirmation(ConfirmationMethod.PASSKEY, take=take_answer)


def encode_acts(acts: Sequence[DecidedAct]) -> bytes:
    """Return the octets that a passkey confirms: those of the act, or the digests of all acts of a batch."""
    return acts[0].octets if len(acts) == 1 else encode_batch([one.digest for one in acts])


def get_officer() -> Officer:
    """Return the visitor as an officer."""
    visitor: Visitor = get_visitor()
    roles = ",".join(sorted(visitor.roles))
    return Officer(visitor.account, visitor.name, roles, visitor.rights, visitor.organisation.code)


def list_possible_acts(view: ApplicationView | None) -> tuple[str, ...]:
    """Return the acts that the visitor may do to an application in its state now."""
    if view is None or view.proposal is not None:
        return ()
    if view.state == "DECIDED":
        concerns = view.cancellation is not None or view.owes_fee or view.was_paid
        speaks = concerns and get_visitor().may(Right.CORRECT_DECISIONS)
        kinds: tuple[str, ...] = (*_DECIDED, *(("receive",) if speaks else ()))
    elif view.state in ("CANCELLED", "PREPARED", "STRANDED"):
        kinds = ()
    elif view.is_held:
        kinds = ("receive",)
    else:
        kinds = _WAITING
    return tuple(kind for kind in kinds if get_visitor().may(ACT_RIGHTS[kind]))


def describe_refusal(problem: GatewayError) -> str:
    """Return a problem as a sentence for a page, with its id."""
    return f"{problem.problem.id}: {problem.detail}"


def load_application(services: ConsoleServices, conn: Connection, number: str) -> ApplicationForm:
    """Return the application of this number of the visitor's agency; any other one is answered with 404."""
    agency = get_visitor().organisation.code
    known = number.isascii() and number.isalnum()
    found = load_application_form(services.hub, conn, agency, number) if known else None
    if found is None:
        abort(HTTPStatus.NOT_FOUND)
    return found


def label_pointers(application: ApplicationForm) -> Mapping[str, Mapping[str, str]]:
    """Return the labels of the fields of an application by their pointers."""
    return {field.pointer: field.label for field in application.form.list_fields()}
