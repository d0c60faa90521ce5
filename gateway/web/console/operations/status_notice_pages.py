"""What the public status page announces: incidents and planned interruptions, written by operators."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, g, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.operations import Act, open_change
from gateway.store import NewStatusNotice, read_transaction, status_notices
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.form_numbers import read_moment
from gateway.web.console.page_guards import get_visitor, require_right
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate

__all__ = ["add_status_notice_pages"]

_KINDS: Final = ("incident", "planned")
_TEXTS: Final = {"title_en": 120, "title_ko": 120, "text_en": 2000, "text_ko": 2000}
_PAST: Final = timedelta(days=30)


def add_status_notice_pages(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the pages."""
    zone = ZoneInfo(services.settings.hub.time_zone)

    @pages.get("/status")
    @require_right(Right.OBSERVE)
    def list_notices() -> str:
        return _render_notices(services, {})

    @pages.post("/status")
    @require_right(Right.PUBLISH_STATUS)
    def publish_notice() -> Response | tuple[str, int]:
        new, problems = _read_notice(zone)
        if new is None:
            page = _render_notices(services, dict(request.form), problems)
            return page, HTTPStatus.UNPROCESSABLE_ENTITY
        with open_change(
            services.engine, services.settings, _make_act("publish"), "console.status", services.clock()
        ) as change:
            number = status_notices.insert_notice(change.conn, new, change.at, change.by)
            change.record_change(f"notice {number}", after=_describe_notice(new))
        leave_notice(services, translate("The notice is published."))
        return redirect("/console/operations/status")

    @pages.post("/status/<int:number>/end")
    @require_right(Right.PUBLISH_STATUS)
    def end_notice(number: int) -> Response:
        with read_transaction(services.engine) as conn:
            if status_notices.find_notice(conn, number) is None:
                abort(HTTPStatus.NOT_FOUND)
        with open_change(
            services.engine, services.settings, _make_act("end"), "console.status", services.clock()
        ) as change:
            if status_notices.end_notice(change.conn, number, change.at):
                change.record_change(f"notice {number}", after={"ends_at": change.at})
            else:
                change.leave_unchanged()
        leave_notice(services, translate("The notice has ended."))
        return redirect("/console/operations/status")


def _make_act(what: str) -> Act:
    return Act(f"status {what}", get_visitor().name, remote=g.network)


def _describe_notice(new: NewStatusNotice) -> dict[str, Any]:
    return {"kind": new.kind, "title_en": new.title_en, "starts_at": new.starts_at, "ends_at": new.ends_at}


def _render_notices(
    services: ConsoleServices, given: dict[str, str], problems: dict[str, str] | None = None
) -> str:
    now = services.clock()
    with read_transaction(services.engine) as conn:
        current = status_notices.list_current_notices(conn, now)
        past = status_notices.list_past_notices(conn, now - _PAST, now)
    return render_template(
        "operations/status_notices.html",
        current=current,
        past=past,
        given=given,
        problems=problems or {},
        now=now,
        zone=services.settings.hub.time_zone,
    )


def _read_notice(zone: ZoneInfo) -> tuple[NewStatusNotice | None, dict[str, str]]:
    """Return the notice of the form, or what is wrong with each field."""
    form, problems = request.form, {}
    texts = {name: form.get(name, "").strip() for name in _TEXTS}
    for name, longest in _TEXTS.items():
        if not texts[name] or len(texts[name]) > longest:
            problems[name] = translate("Write this text in both languages; it may not be too long.")
    starts, ends = (_read_moment(form.get(name, ""), zone) for name in ("starts_at", "ends_at"))
    if starts is None:
        problems["starts_at"] = translate("Give the date and the time at which it begins.")
    if form.get("ends_at") and (ends is None or (starts is not None and ends <= starts)):
        problems["ends_at"] = translate("The end is after the beginning, or empty.")
    kind = form.get("kind", "")
    if problems or starts is None or kind not in _KINDS:
        return None, problems
    return NewStatusNotice(kind, **texts, starts_at=starts, ends_at=ends), {}


def _read_moment(text: str, zone: ZoneInfo) -> datetime | None:
    return read_moment(text, zone)
