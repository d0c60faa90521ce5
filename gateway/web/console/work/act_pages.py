"""The forms of acts: filled in, shown once more with the digest of what is decided, and confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from gateway.accounts import PasskeyError, Right
from gateway.cases import ACT_EVENTS, DecisionAct, list_unsent_words
from gateway.errors import GatewayError
from gateway.hub import ApplicationForm
from gateway.web.console.page_guards import get_visitor, require_right
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate
from gateway.web.console.work.act_desk import (
    ACT_RIGHTS,
    OWN_FIELDS,
    DecidedAct,
    WorkDesk,
    describe_refusal,
    get_officer,
    list_possible_acts,
)
from gateway.web.console.work.act_forms import ActForm, read_act_form, remove_validity
from gateway.web.officers import ApplicationView

__all__ = ["add_act_pages"]

_Page = str | tuple[str, int] | Response


def add_act_pages(pages: Blueprint, work: WorkDesk) -> None:
    """Add the forms of acts on one application."""

    @pages.get("/applications/<number>/acts/<kind>")
    @require_right(Right.WORK_ON_APPLICATIONS)
    def show_act_form(number: str, kind: str) -> _Page:
        form, view = _open_act(work, number, kind)
        values = _fill_in(kind, view)
        return _render_form(work, kind, (form, view), values, ActForm())

    @pages.post("/applications/<number>/acts/<kind>")
    @require_right(Right.WORK_ON_APPLICATIONS)
    def take_act_form(number: str, kind: str) -> _Page:
        form, view = _open_act(work, number, kind)
        read = read_act_form(kind, request.form, work.make_context(kind, form, view))
        if read.act is None or request.form.get("step") == "back":
            status = HTTPStatus.UNPROCESSABLE_ENTITY if read.errors else HTTPStatus.OK
            return _render_form(work, kind, (form, view), request.form, read), status
        decided = DecidedAct(number, request.form.get("shown", "")[:64], read.act)
        if request.form.get("step") != "confirm":
            return _render_preview(work, kind, (form, view), decided)
        return _do_act(work, kind, (form, view), decided)


def _open_act(work: WorkDesk, number: str, kind: str) -> tuple[ApplicationForm, ApplicationView]:
    """Return the application; 404 for an act that there is not, 403 for one without the right."""
    if kind not in ACT_RIGHTS:
        abort(HTTPStatus.NOT_FOUND)
    if not get_visitor().may(ACT_RIGHTS[kind]):
        abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to see this page.")
    form, view = work.open_application(number)
    if request.method == "GET" and kind not in list_possible_acts(view):
        abort(HTTPStatus.CONFLICT, "The application is in a state that does not allow this act.")
    return form, view


def _fill_in(kind: str, view: ApplicationView) -> MultiDict[str, str]:
    """Return the values that a new form has: a correction begins with the standing decisions."""
    if kind == "receive":
        return MultiDict({"status_code": "C04"})
    if kind != "correct":
        return MultiDict()
    values: MultiDict[str, str] = MultiDict()
    standing = {(one.item, one.law): one for one in view.decisions}
    for place, pair in enumerate(view.required):
        one = standing.get(pair)
        if one is not None:
            values[f"d{place}-number"] = one.number or ""
            values[f"d{place}-quantity"] = "" if one.quantity is None else f"{one.quantity:f}"
            values[f"d{place}-unit"] = one.unit or ""
            values[f"d{place}-conditions"] = "\n".join(remove_validity(one.conditions))
    values["valid_until"] = "" if view.last_day is None else view.last_day.isoformat()
    return values


def _render_form(
    work: WorkDesk,
    kind: str,
    opened: tuple[ApplicationForm, ApplicationView],
    values: Mapping[str, Any],
    read: ActForm,
    **more: Any,
) -> str:
    form, view = opened
    return render_template(
        "work/act.html",
        kind=kind,
        application=form,
        view=view,
        values=values,
        picked=values.getlist("pointer") if isinstance(values, MultiDict) else [],
        errors=read.errors,
        shown=request.form.get("shown") or view.shown,
        codes=work.desk.list_status_codes(kind, view.number) if kind in ACT_EVENTS else (),
        two_officers=work.wants_two_officers(kind),
        **more,
    )


def _render_preview(
    work: WorkDesk,
    kind: str,
    opened: tuple[ApplicationForm, ApplicationView],
    decided: DecidedAct,
    **more: Any,
) -> str:
    form, view = opened
    decides = isinstance(decided.act, DecisionAct) and not work.wants_two_officers(kind)
    return render_template(
        "work/preview.html",
        kind=kind,
        application=form,
        view=view,
        decided=decided,
        unsent=list_unsent_words(decided.act),
        labels={field.pointer: field.label for field in form.form.list_fields()},
        kept=[(name, one) for name, one in request.form.items(multi=True) if name not in OWN_FIELDS],
        offer=work.offer_confirmation([decided], decides=decides),
        two_officers=work.wants_two_officers(kind),
        **more,
    )


def _do_act(
    work: WorkDesk, kind: str, opened: tuple[ApplicationForm, ApplicationView], decided: DecidedAct
) -> _Page:
    """Do what was shown; what differs from it is shown once more."""
    if request.form.get("digest") != decided.digest:
        return _render_preview(work, kind, opened, decided), HTTPStatus.CONFLICT
    try:
        sentence = _perform(work, kind, decided)
    except GatewayError as problem:
        told = _render_preview(work, kind, opened, decided, problem=describe_refusal(problem))
        return told, int(problem.problem.http or HTTPStatus.CONFLICT)
    except PasskeyError:
        refusal = translate("The passkey was not accepted.")
        told = _render_preview(work, kind, opened, decided, problem=refusal)
        return told, HTTPStatus.UNPROCESSABLE_ENTITY
    leave_notice(work.services, sentence)
    return redirect(f"/console/applications/{decided.number}")


def _perform(work: WorkDesk, kind: str, decided: DecidedAct) -> str:
    """Perform or propose an act; return the sentence about it. Raises the problem of a refused one."""
    officer, act = get_officer(), decided.act
    if work.wants_two_officers(kind):
        outcome = work.desk.propose_act(officer, decided.number, act, decided.shown)
        done = translate("The decision is proposed. Another officer approves it.")
    else:
        confirmation = work.take_confirmation([decided], decides=isinstance(act, DecisionAct))
        outcome = work.desk.perform_act(officer, decided.number, act, decided.shown, confirmation)
        done = translate("This was sent.")
    if outcome.problem is not None:
        raise outcome.problem
    return done
