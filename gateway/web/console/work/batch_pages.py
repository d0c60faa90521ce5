"""One decision for several alike applications: filled in once, shown for each, and confirmed together.

Each application gets an act of its own with its own digest. One that is refused does not stop the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from gateway.accounts import PasskeyError, Right
from gateway.cases import Decision, DecisionAct, DecisionPurpose
from gateway.errors import GatewayError
from gateway.hub import ApplicationForm
from gateway.store import write_transaction
from gateway.web.console.page_guards import get_visitor, require_right
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate
from gateway.web.console.passkey_challenges import take_confirmation
from gateway.web.console.work.act_desk import (
    OWN_FIELDS,
    DecidedAct,
    WorkDesk,
    describe_refusal,
    encode_acts,
    get_officer,
    list_possible_acts,
)
from gateway.web.console.work.act_forms import (
    ActForm,
    check_last_day,
    read_decision_fields,
    read_last_day,
)
from gateway.web.officers import SESSION_ONLY, ApplicationView, Confirmation, ConfirmationMethod

__all__ = ["add_batch_pages"]

_Page = str | tuple[str, int] | Response
_MOST: Final = 50
_NUMBER: Final = "number-"


@dataclass(frozen=True, slots=True)
class _Chosen:
    """One application of a batch."""

    form: ApplicationForm
    view: ApplicationView


def add_batch_pages(pages: Blueprint, work: WorkDesk) -> None:
    """Add the decision of several applications at once."""

    @pages.post("/work/batch")
    @require_right(Right.PROPOSE_DECISIONS)
    def decide_batch() -> _Page:
        chosen = _open_chosen(work)
        refusal = _find_refusal(chosen)
        if refusal is not None:
            leave_notice(work.services, refusal)
            return redirect("/console/work")
        step = request.form.get("step")
        if step not in ("preview", "confirm"):
            return _render_form(work, chosen, ActForm())
        read, acts = _read_acts(work, chosen, request.form)
        if read.errors:
            return _render_form(work, chosen, read), HTTPStatus.UNPROCESSABLE_ENTITY
        if step == "preview" or request.form.getlist("digest") != [one.digest for one in acts]:
            return _render_preview(work, chosen, acts)
        return _do_batch(work, chosen, acts)


def _open_chosen(work: WorkDesk) -> list[_Chosen]:
    numbers = list(dict.fromkeys(request.form.getlist("number")))[:_MOST]
    return [_Chosen(*work.open_application(number)) for number in numbers]


def _find_refusal(chosen: Sequence[_Chosen]) -> str | None:
    """Return why these applications cannot be decided together; None when they can."""
    if not chosen:
        return translate("Choose applications first.")
    if len({one.view.document for one in chosen}) > 1:
        return translate("Only applications of one document are decided together.")
    if any("decide" not in list_possible_acts(one.view) for one in chosen):
        return translate("One of these applications cannot be decided now.")
    return None


def _read_acts(
    work: WorkDesk, chosen: Sequence[_Chosen], values: MultiDict[str, str]
) -> tuple[ActForm, list[DecidedAct]]:
    """Return the act for each application: the same decision for each of its items and laws."""
    read = ActForm()
    until = read_last_day(read, values, work.make_context("decide", chosen[0].form, chosen[0].view).today)
    pattern = read_decision_fields(read, values, "d0", (1, "-"), until=until)
    if pattern is None:
        read.errors.setdefault("d0-decision", translate("Choose a decision."))
        return read, []
    acts = []
    shown = dict(zip(values.getlist("number"), values.getlist("shown"), strict=False))
    for one in chosen:
        number = " ".join(values.get(f"{_NUMBER}{one.view.number}", "").split())[:128] or None
        decisions = tuple(_apply_pattern(pattern, pair, number) for pair in one.view.required)
        check_last_day(read, until, decisions)
        reason = values.get("reason", "").strip()[:4000]
        act = DecisionAct(DecisionPurpose.DECIDE, decisions, reason, until)
        acts.append(DecidedAct(one.view.number, shown.get(one.view.number, one.view.shown)[:64], act))
    return read, acts


def _apply_pattern(pattern: Decision, pair: tuple[int, str], number: str | None) -> Decision:
    return replace(pattern, item=pair[0], law=pair[1], number=number)


def _render_form(work: WorkDesk, chosen: Sequence[_Chosen], read: ActForm) -> str:
    return render_template(
        "work/batch.html",
        chosen=chosen,
        values=request.form,
        errors=read.errors,
        two_officers=work.wants_two_officers("decide"),
    )


def _render_preview(
    work: WorkDesk, chosen: Sequence[_Chosen], acts: Sequence[DecidedAct], **more: Any
) -> str:
    decides = not work.wants_two_officers("decide")
    kept = [
        (name, one)
        for name, one in request.form.items(multi=True)
        if name not in OWN_FIELDS and name != "number"
    ]
    return render_template(
        "work/batch_preview.html",
        chosen=chosen,
        acts=acts,
        kept=kept,
        offer=work.offer_confirmation(acts, decides=decides),
        two_officers=not decides,
        **more,
    )


def _do_batch(work: WorkDesk, chosen: Sequence[_Chosen], acts: Sequence[DecidedAct]) -> _Page:
    try:
        confirmation = _confirm_batch(work, acts)
    except PasskeyError:
        refusal = translate("The passkey was not accepted.")
        return _render_preview(work, chosen, acts, problem=refusal), HTTPStatus.UNPROCESSABLE_ENTITY
    results = [(one, _perform(work, one, confirmation)) for one in acts]
    return render_template("work/batch_done.html", results=results)


def _confirm_batch(work: WorkDesk, acts: Sequence[DecidedAct]) -> Confirmation:
    """Return the confirmation of all acts of the batch: one passkey answer for them together."""
    if work.wants_two_officers("decide"):
        return SESSION_ONLY
    if request.form.get("confirm") != "passkey":
        return work.take_confirmation(acts, decides=True)
    visitor, answer = get_visitor(), request.form.get("passkey_answer", "")
    with write_transaction(work.services.engine, "console.batch") as conn:
        taken = take_confirmation(conn, work.services, visitor, encode_acts(acts), answer)
    digests = tuple(one.digest for one in acts) if len(acts) > 1 else ()
    return Confirmation(ConfirmationMethod.PASSKEY, octets=taken.evidence, digests=digests)


def _perform(work: WorkDesk, one: DecidedAct, confirmation: Confirmation) -> str | None:
    """Perform or propose one act of a batch; return why it was refused, None when it was not."""
    officer = get_officer()
    try:
        if work.wants_two_officers("decide"):
            outcome = work.desk.propose_act(officer, one.number, one.act, one.shown)
        else:
            outcome = work.desk.perform_act(officer, one.number, one.act, one.shown, confirmation)
    except GatewayError as problem:
        return describe_refusal(problem)
    return None if outcome.problem is None else describe_refusal(outcome.problem)
