"""The goods items of a draft: which document concerns which, and many items by a table."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, g, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from gateway.harmonize import format_item_template, list_item_columns, read_item_table
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.csv_answers import answer_csv_text
from gateway.web.console.filing.draft_origins import set_applications
from gateway.web.console.filing.draft_pages import MIB, go_on, guard_page, load_open_draft, read_version
from gateway.web.console.filing.draft_service import Draft, DraftLimitError, load_draft, save_draft
from gateway.web.console.filing.form_input import add_item, remove_item
from gateway.web.console.page_guards import accept_files, get_visitor
from gateway.web.console.page_translations import translate

__all__ = ["add_item_pages"]

_ROOM_FOR_TABLE: Final = 4 * MIB


def add_item_pages(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the pages."""

    @pages.get("/<int:number>/items")
    @guard_page
    def show_items(number: int) -> str:
        return _render_items(load_draft(services, get_visitor(), number))

    @pages.post("/<int:number>/items")
    @guard_page
    def save_items(number: int) -> AnyResponse | tuple[str, int]:
        return _answer_items(services, load_open_draft(services, number))

    @pages.post("/<int:number>/items/import")
    @accept_files(_ROOM_FOR_TABLE)
    @guard_page
    def import_items(number: int) -> AnyResponse | tuple[str, int]:
        return _answer_import(services, load_open_draft(services, number))

    @pages.get("/<int:number>/items.csv")
    @guard_page
    def download_template(number: int) -> Response:
        draft = load_draft(services, get_visitor(), number)
        return answer_csv_text("items", format_item_template(list_item_columns(draft.form), g.language))


def _render_items(draft: Draft, **more: Any) -> str:
    describing = next((one.name for one in draft.form.item if one.kind == "text"), "")
    names = [one for one in ("item.description", describing) if one]
    rows = [
        {
            "number": item,
            "title": next((t for n in names if (t := draft.values.values.get(f"i#{item}/{n}"))), ""),
            "applications": [at for at, one in enumerate(draft.values.applications, 1) if item in one.items],
        }
        for item in draft.values.items
    ]
    return render_template("filing/items.html", draft=draft, rows=rows, version=draft.row.version, **more)


def _answer_items(services: ConsoleServices, draft: Draft) -> AnyResponse | tuple[str, int]:
    """Keep which applications concern which items; then add or remove an item."""
    values = set_applications(draft.values, set(request.form.getlist("concerns")))
    act, _, item = request.form.get("act", "").partition("|")
    if act == "add":
        values = add_item(values)
    elif act == "remove" and item in values.items:
        values = remove_item(values, item)
    if not save_draft(services, get_visitor(), draft, values, read_version()):
        sentence = translate("Somebody else has saved this draft meanwhile. Compare, and save again.")
        return _render_items(draft, problem=sentence), HTTPStatus.CONFLICT
    if act == "add":
        return redirect(f"{draft.path}/items/{values.items[-1]}")
    return redirect(f"{draft.path}/items")


def _answer_import(services: ConsoleServices, draft: Draft) -> AnyResponse | tuple[str, int]:
    upload = request.files.get("table")
    content = upload.stream.read() if upload is not None else b""
    table = read_item_table(draft.form, draft.values, content)
    if table.faults:
        return _render_items(draft, faults=table.faults), HTTPStatus.UNPROCESSABLE_ENTITY
    try:
        saved = save_draft(services, get_visitor(), draft, table.values, read_version())
    except DraftLimitError as limit:
        return _render_items(draft, problem=str(limit)), HTTPStatus.UNPROCESSABLE_ENTITY
    if not saved:
        sentence = translate("Somebody else has saved this draft meanwhile. Compare, and save again.")
        return _render_items(draft, problem=sentence), HTTPStatus.CONFLICT
    sentence = translate("Goods items added: {number}.").format(number=table.added)
    return go_on(services, f"{draft.path}/items", sentence)
