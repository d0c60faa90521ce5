"""Pages of an officer's acts, and how a page performs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, redirect, render_template, request
from sqlalchemy import Connection
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from gateway.accounts import PasskeyError, Right
from gateway.cases import (
    ACT_EVENTS,
    DecisionAct,
    OfficerAct,
    QuantityVerdict,
    compare_decided_quantity,
    compute_act_digest,
    encode_act,
    encode_batch,
    list_agency_only_values,
    list_decision_units,
    remove_last_day,
)
from gateway.errors import GatewayError
from gateway.hub import ApplicationForm, load_application_form
from gateway.store import accounts, read_transaction
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import (
    find_client_certificate,
    require_right,
    services,
    store_flash_message,
    visitor,
)
from gateway.web.console.passkey_challenges import begin_passkey_confirmation, finish_passkey_confirmation
from gateway.web.console.work.act_forms import ActForm, FormContext, read_act_form
from gateway.web.officers import SESSION_ONLY, ApplicationView, Confirmation, ConfirmationMethod, Officer
from gateway.web.problem_status import find_status

pages: Final = Blueprint("acts", __name__, url_prefix="/console/applications")

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
#: Fields of the page itself, which are not part of the officer's form.
OWN_FIELDS: Final = frozenset({"form_token", "step", "shown", "digest", "confirm", "passkey_answer"})
#: Acts on an application that waits for a decision, and on one that is decided.
_WAITING: Final = ("receive", "ask", "inspect", "fee", "decide")
_DECIDED: Final = ("correct", "revoke")


@dataclass(frozen=True, slots=True)
class DecidedAct:
    """An act on an application, with the digest of the application as the officer saw it."""

    number: str
    shown_digest: str
    act: OfficerAct

    @property
    def digest(self) -> str:
        """Return the digest of the act."""
        return compute_act_digest(self.number, self.shown_digest, self.act)

    @property
    def octets(self) -> bytes:
        """Return the act as octets."""
        return encode_act(self.number, self.shown_digest, self.act)

    @property
    def unsent(self) -> tuple[str, ...]:
        """Return the names of the values that only the agency reads."""
        return list_agency_only_values(self.act)


@dataclass(frozen=True, slots=True)
class OpenApplication:
    """An application at the console: the form as it was filed, and the present view of the application."""

    application_form: ApplicationForm
    view: ApplicationView


@dataclass(frozen=True, slots=True)
class ConfirmationOffer:
    """The ways in which a person can confirm now, and the options for the person's passkey."""

    methods: tuple[str, ...]
    required_methods: tuple[str, ...]
    passkey_options: str | None = None


def open_application(number: str) -> OpenApplication:
    """Return an application with its form; 404 if it is another agency's, or not decided at the console."""
    with read_transaction(services.engine) as conn:
        application_form = load_application(conn, number)
    view = services.desk.read_application(visitor.organisation.code, number)
    if view is None:
        abort(HTTPStatus.NOT_FOUND)
    return OpenApplication(application_form, view)


def make_form_context(act_kind: str, application_form: ApplicationForm, view: ApplicationView) -> FormContext:
    """Return the context of the form of an act."""
    chooses = act_kind in ACT_EVENTS
    codes = services.desk.list_status_codes(act_kind, view.number) if chooses else ()
    zone = ZoneInfo(services.settings.hub.time_zone)
    events = {status_code.code: status_code.event for status_code in codes}
    return FormContext(
        required=view.required,
        pointers=label_pointers(application_form),
        codes=events,
        declared=application_form.list_declared_quantities(),
        units=application_form.units,
        now=services.clock(),
        zone=zone,
    )


def needs_two_officers(act_kind: str) -> bool:
    """Return whether an act of this kind is proposed by one and approved by another."""
    decides = act_kind in ("decide", "correct", "revoke")
    return decides and services.desk.get_policy(visitor.organisation.code).four_eyes


def make_confirmation_offer(acts: Sequence[DecidedAct], *, decides: bool) -> ConfirmationOffer:
    """Return how these acts can be confirmed; acts that decide nothing need only the session."""
    if not decides:
        return ConfirmationOffer(("session",), ("session",))
    policy = services.desk.get_policy(visitor.organisation.code)
    methods = tuple(sorted(method.value for method in policy.confirm))
    options = None
    if ConfirmationMethod.PASSKEY in policy.confirm:
        options = begin_passkey_confirmation(visitor, encode_acts(acts))
    possible = {
        "session": True,
        "passkey": options is not None,
        "certificate": "certificate" in methods and _shows_certificate(visitor.account),
    }
    return ConfirmationOffer(tuple(method for method in methods if possible[method]), methods, options)


def _shows_certificate(account: int) -> bool:
    """Return whether this connection shows the client certificate of an account."""
    sha256 = find_client_certificate(request)
    if sha256 is None:
        return False
    with read_transaction(services.engine) as conn:
        row = accounts.find_by_id(conn, account)
    return row is not None and row.certificate_sha256 == sha256


def read_act_confirmation(acts: Sequence[DecidedAct], *, decides: bool) -> Confirmation:
    """Return the confirmation in the form of this request."""
    method = request.form.get("confirm")
    if decides and method == "certificate":
        sha256 = find_client_certificate(request)
        return Confirmation(ConfirmationMethod.CERTIFICATE, certificate_sha256=sha256)
    if not decides or method != "passkey":
        return SESSION_ONLY
    answer = request.form.get("passkey_answer", "")
    content = encode_acts(acts)

    def take_answer(conn: Connection) -> bytes:
        return finish_passkey_confirmation(conn, visitor, content, answer).evidence

    return Confirmation(ConfirmationMethod.PASSKEY, verify_answer=take_answer)


def compare_quantities(
    act: OfficerAct, application_form: ApplicationForm
) -> Mapping[tuple[int, str], QuantityVerdict]:
    """Return how the quantity of each decision compares with the declared quantity, by item and law."""
    if not isinstance(act, DecisionAct):
        return {}
    declared = application_form.list_declared_quantities()
    return {
        (decision.item, decision.law): compare_decided_quantity(
            decision, declared.get(decision.item, ()), application_form.units
        )
        for decision in act.decisions
    }


def encode_acts(acts: Sequence[DecidedAct]) -> bytes:
    """Return the octets that a passkey confirms: those of the act, or the digests of all acts of a batch."""
    return acts[0].octets if len(acts) == 1 else encode_batch([act.digest for act in acts])


def get_officer() -> Officer:
    """Return the visitor as an officer."""
    roles = ",".join(sorted(visitor.roles))
    return Officer(visitor.account, visitor.name, roles, visitor.rights, visitor.organisation.code)


def list_possible_acts(view: ApplicationView | None) -> tuple[str, ...]:
    """Return the acts that the visitor may do to an application in its state now."""
    if view is None or view.proposal is not None:
        return ()
    if view.state == "DECIDED":
        concerns = view.request.cancellation is not None or view.owes_fee or view.was_paid
        speaks = concerns and visitor.may(Right.CORRECT_DECISIONS)
        kinds: tuple[str, ...] = (*_DECIDED, *(("receive",) if speaks else ()))
    elif view.state in ("CANCELLED", "PREPARED", "STRANDED"):
        kinds = ()
    elif view.is_held:
        kinds = ("receive",)
    else:
        kinds = _WAITING
    return tuple(kind for kind in kinds if visitor.may(ACT_RIGHTS[kind]))


def describe_refusal(problem: GatewayError) -> str:
    """Return a problem as a sentence for a page, with its id."""
    return f"{problem.problem.id}: {problem.detail}"


def load_application(conn: Connection, number: str) -> ApplicationForm:
    """Return the application of this number of the visitor's agency; any other one is answered with 404."""
    agency = visitor.organisation.code
    is_well_formed = number.isascii() and number.isalnum()
    application = load_application_form(services.hub, conn, agency, number) if is_well_formed else None
    if application is None:
        abort(HTTPStatus.NOT_FOUND)
    return application


def label_pointers(application: ApplicationForm) -> Mapping[str, Mapping[str, str]]:
    """Return the labels of the fields of an application by their pointers."""
    return {field.pointer: field.label for field in application.request_form.list_fields()}


_Page = str | tuple[str, int] | Response


@pages.get("/<number>/acts/<kind>")
@require_right(Right.WORK_ON_APPLICATIONS)
def show_act_form(number: str, kind: str) -> _Page:
    """Show the form of an act on an application."""
    application = _open_act(number, kind)
    return _render_form(kind, application, ActForm(_make_initial_values(kind, application.view)))


@pages.post("/<number>/acts/<kind>")
@require_right(Right.WORK_ON_APPLICATIONS)
def take_act_form(number: str, kind: str) -> _Page:
    """Preview an act on an application, or do it."""
    application = _open_act(number, kind)
    context = make_form_context(kind, application.application_form, application.view)
    act_form = read_act_form(kind, request.form, context)
    if act_form.act is None or request.form.get("step") == "back":
        status = HTTPStatus.UNPROCESSABLE_ENTITY if act_form.errors else HTTPStatus.OK
        return _render_form(kind, application, act_form), status
    decided_act = DecidedAct(number, request.form.get("shown", "")[:64], act_form.act)
    if request.form.get("step") != "confirm":
        return _render_preview(kind, application, decided_act)
    return _do_act(kind, application, decided_act)


def _open_act(number: str, act_kind: str) -> OpenApplication:
    """Return the application of an act; answers 404, 403 or 409 if the act is not possible."""
    if act_kind not in ACT_RIGHTS:
        abort(HTTPStatus.NOT_FOUND)
    if not visitor.may(ACT_RIGHTS[act_kind]):
        abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to see this page.")
    application = open_application(number)
    if request.method == "GET" and act_kind not in list_possible_acts(application.view):
        abort(HTTPStatus.CONFLICT, "The application is in a state that does not allow this act.")
    return application


def _make_initial_values(act_kind: str, view: ApplicationView) -> MultiDict[str, str]:
    """Return the values that a new form has: a correction begins with the standing decisions."""
    if act_kind == "receive":
        return MultiDict({"status_code": "C04"})
    if act_kind == "fee":
        return MultiDict({"currency": "KRW"})
    if act_kind != "correct":
        return MultiDict()
    values: MultiDict[str, str] = MultiDict()
    decisions_by_pair = {(decision.item, decision.law): decision for decision in view.decisions}
    for index, pair in enumerate(view.required):
        decision = decisions_by_pair.get(pair)
        if decision is not None:
            values[f"d{index}-number"] = decision.number or ""
            values[f"d{index}-quantity"] = "" if decision.quantity is None else f"{decision.quantity:f}"
            values[f"d{index}-unit"] = decision.unit or ""
            values[f"d{index}-conditions"] = "\n".join(remove_last_day(decision.conditions))
    values["valid_until"] = "" if view.last_day is None else view.last_day.isoformat()
    return values


def _render_form(act_kind: str, application: OpenApplication, act_form: ActForm) -> str:
    """Return the page with the form of an act of this kind, with the values and errors of `act_form`."""
    application_form, view = application.application_form, application.view
    return render_template(
        "work/act.html",
        kind=act_kind,
        application=application_form,
        view=view,
        values=act_form.values,
        picked=act_form.values.getlist("pointer"),
        errors=act_form.errors,
        shown=request.form.get("shown") or view.shown_digest,
        codes=services.desk.list_status_codes(act_kind, view.number) if act_kind in ACT_EVENTS else (),
        two_officers=needs_two_officers(act_kind),
        fitting_units={
            item: list_decision_units(declared, application_form.units)
            for item, declared in application_form.list_declared_quantities().items()
        },
    )


def _render_preview(
    act_kind: str, application: OpenApplication, decided_act: DecidedAct, problem: str = ""
) -> str:
    """Return the page that shows the act before it is sent; other form fields are repeated as hidden ones."""
    application_form, view = application.application_form, application.view
    decides = isinstance(decided_act.act, DecisionAct) and not needs_two_officers(act_kind)
    return render_template(
        "work/preview.html",
        kind=act_kind,
        application=application_form,
        view=view,
        decided=decided_act,
        labels=label_pointers(application_form),
        verdicts=compare_quantities(decided_act.act, application_form),
        kept=[(name, value) for name, value in request.form.items(multi=True) if name not in OWN_FIELDS],
        offer=make_confirmation_offer([decided_act], decides=decides),
        two_officers=needs_two_officers(act_kind),
        problem=problem,
    )


def _do_act(act_kind: str, application: OpenApplication, decided_act: DecidedAct) -> _Page:
    """Perform or propose an act if the preview showed the same one; else show the preview again (409)."""
    if request.form.get("digest") != decided_act.digest:
        return _render_preview(act_kind, application, decided_act), HTTPStatus.CONFLICT

    def perform_or_propose() -> str:
        """Perform the act, or propose it if it needs two officers; return the sentence to show."""
        if needs_two_officers(act_kind):
            propose_act(decided_act)
            return translate("The decision is proposed. Another officer approves it.")
        confirmation = read_act_confirmation([decided_act], decides=isinstance(decided_act.act, DecisionAct))
        perform_act(decided_act, confirmation)
        return translate("This was sent.")

    return finish_act(
        decided_act.number,
        perform_or_propose,
        lambda problem: _render_preview(act_kind, application, decided_act, problem=problem),
    )


def propose_act(decided_act: DecidedAct) -> None:
    """Propose an act to another officer; raises the problem of a refused one."""
    services.desk.propose_act(get_officer(), decided_act.number, decided_act.act, decided_act.shown_digest)


def perform_act(decided_act: DecidedAct, confirmation: Confirmation) -> None:
    """Perform a confirmed act; raises the problem of a refused one."""
    outcome = services.desk.perform_act(
        get_officer(), decided_act.number, decided_act.act, decided_act.shown_digest, confirmation
    )
    if outcome.problem is not None:
        raise outcome.problem


def finish_act(number: str, perform: Callable[[], str], render_refused: Callable[[str], str]) -> _Page:
    """Call `perform`, and redirect to the application with the sentence that it returns.

    Where that is refused, answer the page of the act with the reason.
    """
    try:
        sentence = perform()
    except GatewayError as problem:
        return render_refused(describe_refusal(problem)), find_status(problem)
    except PasskeyError:
        page = render_refused(translate("The passkey was not accepted."))
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    store_flash_message(sentence)
    return redirect(f"/console/applications/{number}")
