"""Pages of a trader's submissions: choose documents, fill the form, check, sign, hand in.

Each page of a draft is a plain form. What was typed is kept with every button, also where it is wrong;
what is wrong stands at its field, by the judgement of `gateway submission check`.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, abort, g, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from gateway.store import read_row_number, read_transaction, submission_drafts, write_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.csv_answers import answer_csv
from gateway.web.console.filing.draft_checks import DraftReport
from gateway.web.console.filing.draft_origins import (
    DocumentGroup,
    begin_chosen_draft,
    copy_message,
    list_document_groups,
)
from gateway.web.console.filing.draft_pages import (
    MIB,
    check_open_draft,
    go_on,
    guard_page,
    load_open_draft,
    read_version,
)
from gateway.web.console.filing.draft_service import (
    LARGEST_FILES,
    Draft,
    DraftLimitError,
    copy_draft,
    load_draft,
    save_draft,
)
from gateway.web.console.filing.form_input import apply_button, read_typed_page
from gateway.web.console.filing.form_sections import (
    draw_page,
    find_field_page,
    find_field_title,
    list_page_inputs,
    list_sections,
    translate_words,
)
from gateway.web.console.filing.form_view import FormPainter, make_element_id
from gateway.web.console.filing.item_pages import add_item_pages
from gateway.web.console.filing.signing_pages import add_signing_pages
from gateway.web.console.filing.submission_return import find_handed_in
from gateway.web.console.page_downloads import make_download
from gateway.web.console.page_guards import accept_files, get_visitor
from gateway.web.console.page_translations import translate

__all__ = ["build_filing_pages"]

_ROWS: Final = 50
#: Octets of a form with the files of a draft, with a table, and with a signed submission.
_ROOM_FOR_FILES: Final = LARGEST_FILES + 4 * MIB
_ROOM_FOR_TABLE: Final = 4 * MIB
#: A page of a goods item with hundreds of ingredients has some thousand fields.
_MOST_FIELDS: Final = 20_000


def build_filing_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages."""
    pages = Blueprint("filing", __name__, url_prefix="/console/submissions")
    pages.url_value_preprocessor(_make_room)
    _add_list_pages(pages, services)
    _add_draft_pages(pages, services)
    add_item_pages(pages, services)
    add_signing_pages(pages, services)
    return pages


def _make_room(_endpoint: str | None, _values: Any) -> None:
    """Let the forms of these pages have more fields than others."""
    request.max_form_parts = _MOST_FIELDS
    request.max_form_memory_size = 4 * MIB


def _add_list_pages(pages: Blueprint, services: ConsoleServices) -> None:
    @pages.get("")
    @guard_page
    def list_drafts() -> AnyResponse | str:
        return _answer_list(services)

    @pages.get("/new")
    @guard_page
    def choose_documents() -> str:
        return _render_choice(services)

    @pages.post("/new")
    @guard_page
    def begin_draft() -> AnyResponse | tuple[str, int]:
        return _answer_begin(services)

    @pages.get("/earlier")
    @guard_page
    def list_earlier() -> str:
        with read_transaction(services.engine) as conn:
            owner = get_visitor().organisation.code
            rows = submission_drafts.list_submissions(conn, owner, _ROWS + 1, _read_number("after"))
        return render_template("filing/earlier.html", rows=rows[:_ROWS], more=len(rows) > _ROWS)

    @pages.post("/earlier/<int:message>")
    @guard_page
    def copy_earlier(message: int) -> AnyResponse:
        visitor = get_visitor()
        number, lost = copy_message(services, visitor, message)
        sentence = translate("The submission was copied into a draft.")
        if lost:
            sentence += " " + translate("Values that the form cannot hold: {number}.").format(number=lost)
        return go_on(services, f"/console/submissions/{number}", sentence)


def _add_draft_pages(pages: Blueprint, services: ConsoleServices) -> None:
    @pages.get("/<int:number>")
    @guard_page
    def show_draft(number: int) -> str:
        return _render_draft(services, load_draft(services, get_visitor(), number))

    @pages.post("/<int:number>/delete")
    @guard_page
    def delete_draft(number: int) -> AnyResponse:
        draft = load_draft(services, get_visitor(), number)
        with write_transaction(services.engine, "console.submission") as conn:
            submission_drafts.delete_draft(conn, get_visitor().organisation.code, draft.id)
        return go_on(services, "/console/submissions", translate("The draft was deleted."))

    @pages.post("/<int:number>/copy")
    @guard_page
    def copy_one(number: int) -> AnyResponse:
        copied = copy_draft(services, get_visitor(), load_draft(services, get_visitor(), number))
        return go_on(services, f"/console/submissions/{copied}", translate("The draft was copied."))

    @pages.get("/<int:number>/<string:kind>/<int:name>")
    @guard_page
    def show_section(number: int, kind: str, name: int) -> str:
        return _render_section(services, load_draft(services, get_visitor(), number), f"{kind}/{name}")

    @pages.post("/<int:number>/<string:kind>/<int:name>")
    @accept_files(_ROOM_FOR_FILES)
    @guard_page
    def save_section(number: int, kind: str, name: int) -> AnyResponse | tuple[str, int]:
        return _answer_save(services, load_open_draft(services, number), f"{kind}/{name}")

    @pages.get("/<int:number>/declaration")
    @guard_page
    def show_declaration(number: int) -> str:
        return _render_section(services, load_draft(services, get_visitor(), number), "declaration")

    @pages.post("/<int:number>/declaration")
    @accept_files(_ROOM_FOR_TABLE)
    @guard_page
    def save_declaration(number: int) -> AnyResponse | tuple[str, int]:
        return _answer_save(services, load_open_draft(services, number), "declaration")

    @pages.get("/<int:number>/files/<int:file>")
    @guard_page
    def download_file(number: int, file: int) -> Response:
        return _answer_file(services, load_draft(services, get_visitor(), number), file)


def _read_number(name: str) -> int | None:
    return read_row_number(request.args.get(name, ""))


def _answer_list(services: ConsoleServices) -> AnyResponse | str:
    with read_transaction(services.engine) as conn:
        owner = get_visitor().organisation.code
        rows = submission_drafts.list_drafts(conn, owner, _ROWS + 1, _read_number("after"))
    if request.args.get("format") == "csv":
        columns = ("id", "reference", "documents", "created_at", "changed_at", "changed_by", "handed_in_at")
        shown = [[getattr(row, name) for name in columns] for row in rows[:_ROWS]]
        return answer_csv("submissions", columns, shown)
    return render_template("filing/list.html", rows=rows[:_ROWS], more=len(rows) > _ROWS)


def _render_choice(services: ConsoleServices, problem: str = "", chosen: tuple[str, ...] = ()) -> str:
    groups: tuple[DocumentGroup, ...] = list_document_groups(services.hub.rules.bundle, g.language)
    return render_template("filing/new.html", groups=groups, problem=problem, chosen=chosen)


def _answer_begin(services: ConsoleServices) -> AnyResponse | tuple[str, int]:
    chosen = tuple(dict.fromkeys(request.form.getlist("document")))
    try:
        number = begin_chosen_draft(services, get_visitor(), chosen)
    except DraftLimitError as limit:
        return _render_choice(services, str(limit), chosen), HTTPStatus.UNPROCESSABLE_ENTITY
    return redirect(f"/console/submissions/{number}")


def _render_draft(services: ConsoleServices, draft: Draft) -> str:
    done = find_handed_in(services, draft)
    if done is not None:
        return render_template("filing/handed_in.html", draft=draft, done=done)
    report = check_open_draft(services, draft)
    counts: dict[str, int] = {}
    for one in report.findings:
        if one.key is not None and one.refuses:
            page = find_field_page(one.key).partition("?")[0]
            counts[page] = counts.get(page, 0) + 1
    return render_template(
        "filing/draft.html",
        draft=draft,
        sections=list_sections(draft),
        counts=counts,
        report=report,
        summary=_summarize(draft, report) if request.args.get("check") else (),
    )


def _summarize(draft: Draft, report: DraftReport) -> list[dict[str, Any]]:
    """Return every finding with the label and the page of its field."""
    titles = find_field_title(draft, g.language)
    return [
        {
            "finding": one,
            "label": titles(one.key) if one.key is not None else "",
            "path": f"{draft.path}/{find_field_page(one.key)}" if one.key is not None else "",
        }
        for one in report.findings
    ]


def _make_painter(services: ConsoleServices, draft: Draft, report: DraftReport | None) -> FormPainter:
    return FormPainter(
        services.hub.rules.bundle,
        g.language,
        draft.values,
        ZoneInfo(services.settings.hub.time_zone),
        report.list_errors() if report is not None else {},
        {one.cid: one for one in draft.files},
        translate_words(),
    )


def _render_section(services: ConsoleServices, draft: Draft, path: str, **more: Any) -> str:
    checked = bool(request.args.get("check"))
    report = check_open_draft(services, draft) if checked else None
    painter = _make_painter(services, draft, report)
    views = draw_page(painter, draft, path)
    sections = list_sections(draft)
    if not views and not any(one.path == path for one in sections):
        abort(HTTPStatus.NOT_FOUND)
    inputs = list_page_inputs(views)
    wrong = [node for node in inputs.values() if node.errors]
    place = next((at for at, one in enumerate(sections) if one.path == path), 0)
    return render_template(
        "filing/section.html",
        draft=draft,
        views=views,
        lists=painter.lists,
        section=sections[place],
        before=sections[place - 1] if place else None,
        after=sections[place + 1] if place + 1 < len(sections) else None,
        wrong=wrong,
        warnings=report.list_warnings(inputs.keys()) if report is not None else (),
        checked=checked,
        version=more.pop("version", draft.row.version),
        **more,
    )


def _answer_save(services: ConsoleServices, draft: Draft, path: str) -> AnyResponse | tuple[str, int]:
    """Keep what was typed, then do what the button says: stay and check, go on, add or remove."""
    painter = _make_painter(services, draft, None)
    views = draw_page(painter, draft, path)
    if not views:
        abort(HTTPStatus.NOT_FOUND)
    try:
        typed = read_typed_page(draft, list_page_inputs(views), request.form, request.files, painter.zone)
        values = apply_button(typed.values, views, request.form.get("act", ""))
        wanted = replace(draft.values, values=values)
        saved = save_draft(services, get_visitor(), draft, wanted, read_version(), typed.files)
    except DraftLimitError as limit:
        page = _render_section(services, draft, path, problem=str(limit))
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    if not saved:
        shown = replace(draft, values=replace(draft.values, values=typed.values))
        sentence = translate("Somebody else has saved this draft meanwhile. Compare, and save again.")
        return _render_section(services, shown, path, problem=sentence), HTTPStatus.CONFLICT
    return redirect(_find_next_page(draft, path))


def _find_next_page(draft: Draft, path: str) -> str:
    """Return where a button of a section leads to."""
    act, _, rest = request.form.get("act", "").partition("|")
    here = f"{draft.path}/{path}"
    if act in ("add", "remove"):
        place, name = rest.split("|")[:2] if "|" in rest else (rest, "")
        return f"{here}#{make_element_id(f'{place}/{name}')}"
    if act == "check":
        return f"{here}?check=1#summary"
    if act == "next":
        return f"{draft.path}/{rest}" if rest else draft.path
    return here


def _answer_file(services: ConsoleServices, draft: Draft, file: int) -> Response:
    """Answer a file of a draft: to be stored, never to be shown by the browser."""
    with read_transaction(services.engine) as conn:
        row = submission_drafts.find_file_content(conn, draft.id, file)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    return make_download(row.name, row.content)
