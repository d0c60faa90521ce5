"""Pages of a trader's submissions: choose documents, fill the form, check, sign, hand in.

Each page of a draft is a plain form. Every button saves the typed values, even if they are wrong; errors are
shown at their fields, as `gateway submission check` finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, abort, g, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from gateway.harmonize import TableFault, list_item_columns, list_template_rows, read_item_table
from gateway.store import (
    read_columns,
    read_row_number,
    read_transaction,
    submission_drafts,
    write_transaction,
)
from gateway.web.console.filing.draft_pages import (
    MIB,
    check_open_draft,
    find_handed_in,
    guard_page,
    load_open_draft,
    read_version,
    redirect_with_message,
)
from gateway.web.console.filing.draft_pages import pages as signing_pages
from gateway.web.console.filing.draft_service import (
    LARGEST_FILES,
    Draft,
    DraftChangedError,
    DraftRefusedError,
    DraftReport,
    begin_document_draft,
    copy_draft,
    copy_message,
    list_document_groups,
    load_draft,
    save_draft,
    set_applications,
)
from gateway.web.console.filing.form_input import (
    add_item,
    apply_button,
    draw_page,
    find_field_page,
    list_page_inputs,
    list_sections,
    make_painter,
    make_title_finder,
    read_typed_page,
    remove_item,
)
from gateway.web.console.filing.form_view import FormPainter, make_element_id
from gateway.web.console.page_formats import (
    LARGEST_CSV,
    answer_csv,
    answer_row_csv,
    is_csv_wanted,
    make_download,
    translate,
)
from gateway.web.console.page_guards import services, visitor
from gateway.web.console.page_needs import accept_files

pages: Final = Blueprint("filing", __name__, url_prefix="/console/submissions")
pages.register_blueprint(signing_pages)

_ROOM_FOR_TABLE: Final = 4 * MIB
_SHOWN_LINES: Final = 20


@pages.get("/<int:number>/items")
@guard_page
def show_items(number: int) -> str:
    """Show the goods items of a draft."""
    return _render_items(load_draft(number))


@pages.get("/<int:number>/items.csv")
@guard_page
def download_template(number: int) -> Response:
    """Return the columns of goods items, as a table to fill in."""
    draft = load_draft(number)
    names, labels = list_template_rows(list_item_columns(draft.form), g.language)
    return answer_csv("items", names, [labels])


def _render_items(draft: Draft, problem: str = "", faults: Sequence[TableFault] = ()) -> str:
    """Return the page with the items of a draft, each with its title and its applications.

    `problem` is why the items were not kept, `faults` are those of a table.
    """
    describing = next((field.name for field in draft.form.item if field.kind == "text"), "")
    names = [name for name in ("item.description", describing) if name]
    rows = [
        {
            "number": item,
            "title": next((t for n in names if (t := draft.values.values.get(f"i#{item}/{n}"))), ""),
            "applications": [
                at for at, application in enumerate(draft.values.applications, 1) if item in application.items
            ],
        }
        for item in draft.values.items
    ]
    return render_template("filing/items.html", draft=draft, rows=rows, problem=problem, faults=faults)


@pages.post("/<int:number>/items")
@guard_page
def save_items(number: int) -> AnyResponse | tuple[str, int]:
    """Keep which applications concern which items; then add or remove an item."""
    draft = load_open_draft(number)
    values = set_applications(draft.values, set(request.form.getlist("concerns")))
    act, _, item = request.form.get("act", "").partition("|")
    if act == "add":
        values = add_item(values)
    elif act == "remove" and item in values.items:
        values = remove_item(values, item)
    try:
        save_draft(draft, values, read_version())
    except DraftRefusedError as refusal:
        return _render_items(draft, problem=str(refusal)), refusal.status
    if act == "add":
        return redirect(f"{draft.path}/items/{values.items[-1]}")
    return redirect(f"{draft.path}/items")


@pages.post("/<int:number>/items/import")
@accept_files(_ROOM_FOR_TABLE)
@guard_page
def import_items(number: int) -> AnyResponse | tuple[str, int]:
    """Add the goods items of a table."""
    draft = load_open_draft(number)
    upload = request.files.get("table")
    content = upload.stream.read() if upload is not None else b""
    table = read_item_table(draft.form, draft.values, content)
    if table.faults:
        return _render_items(draft, faults=table.faults), HTTPStatus.UNPROCESSABLE_ENTITY
    try:
        save_draft(draft, table.values, read_version())
    except DraftRefusedError as refusal:
        return _render_items(draft, problem=str(refusal)), refusal.status
    sentence = translate("Goods items added: {number}.").format(number=table.added)
    if table.comments:
        comments = translate("Lines that were left out as comments, because they begin with #: {lines}.")
        sentence += " " + comments.format(lines=_list_lines(table.comments))
    return redirect_with_message(f"{draft.path}/items", sentence)


def _list_lines(lines: Sequence[int]) -> str:
    """Return the line numbers as one text: at most `_SHOWN_LINES` of them, then "…" if there are more."""
    line_numbers = ", ".join(map(str, lines[:_SHOWN_LINES]))
    return line_numbers if len(lines) <= _SHOWN_LINES else f"{line_numbers}, …"


_ROWS: Final = 50
#: Octets of a form with the files of a draft, with a table, and with a signed submission.
_ROOM_FOR_FILES: Final = LARGEST_FILES + 4 * MIB
#: A page of a goods item with hundreds of ingredients has some thousand fields.
_MOST_FIELDS: Final = 20_000


@pages.url_value_preprocessor
def _make_room(_endpoint: str | None, _values: Any) -> None:
    """Let the forms of these pages have more fields than others."""
    request.max_form_parts = _MOST_FIELDS
    request.max_form_memory_size = 4 * MIB


@pages.get("/earlier")
@guard_page
def list_earlier() -> str:
    """List the earlier submissions of the organisation."""
    with read_transaction(services.engine) as conn:
        owner = visitor.organisation.code
        rows = submission_drafts.list_submissions(conn, owner, _ROWS + 1, _read_number("after"))
    return render_template("filing/earlier.html", rows=rows[:_ROWS], more=len(rows) > _ROWS)


@pages.post("/earlier/<int:message>")
@guard_page
def copy_earlier(message: int) -> AnyResponse:
    """Copy an earlier submission into a draft."""
    try:
        number, lost = copy_message(message)
    except DraftRefusedError as refusal:
        abort(refusal.status, str(refusal))
    sentence = translate("The submission was copied into a draft.")
    if lost:
        sentence += " " + translate("Values that the form cannot hold: {number}.").format(number=lost)
    return redirect_with_message(f"/console/submissions/{number}", sentence)


@pages.post("/<int:number>/delete")
@guard_page
def delete_draft(number: int) -> AnyResponse:
    """Delete a draft."""
    with write_transaction(services.engine, "console.submission") as conn:
        is_deleted = submission_drafts.delete_draft(conn, visitor.organisation.code, number)
    if not is_deleted:
        abort(HTTPStatus.NOT_FOUND)
    return redirect_with_message("/console/submissions", translate("The draft was deleted."))


@pages.post("/<int:number>/copy")
@guard_page
def copy_own_draft(number: int) -> AnyResponse:
    """Copy a draft."""
    try:
        copied = copy_draft(load_draft(number))
    except DraftRefusedError as refusal:
        abort(refusal.status, str(refusal))
    return redirect_with_message(f"/console/submissions/{copied}", translate("The draft was copied."))


@pages.get("/<int:number>/declaration")
@pages.get("/<int:number>/<string:kind>/<int:name>")
@guard_page
def show_section(number: int, kind: str = "declaration", name: int | None = None) -> str:
    """Show one page of a draft: the declaration, a document or a goods item."""
    return _render_section(load_draft(number), kind if name is None else f"{kind}/{name}")


@pages.post("/<int:number>/<string:kind>/<int:name>")
@accept_files(_ROOM_FOR_FILES)
@guard_page
def save_section(number: int, kind: str, name: int) -> AnyResponse | tuple[str, int]:
    """Keep one page of a draft."""
    return _answer_save(load_open_draft(number), f"{kind}/{name}")


@pages.post("/<int:number>/declaration")
@accept_files(_ROOM_FOR_TABLE)
@guard_page
def save_declaration(number: int) -> AnyResponse | tuple[str, int]:
    """Keep the page of the declaration."""
    return _answer_save(load_open_draft(number), "declaration")


def _read_number(name: str) -> int | None:
    return read_row_number(request.args.get(name, ""))


@pages.get("")
@guard_page
def list_drafts() -> AnyResponse | str:
    """List the drafts of the organisation."""
    with read_transaction(services.engine) as conn:
        owner, most = visitor.organisation.code, LARGEST_CSV if is_csv_wanted() else _ROWS + 1
        rows = submission_drafts.list_drafts(conn, owner, most, _read_number("after"))
    if is_csv_wanted():
        columns = ("id", "reference", "documents", "created_at", "changed_at", "changed_by", "handed_in_at")
        return answer_row_csv("submissions", columns, [read_columns(row) for row in rows])
    return render_template("filing/list.html", rows=rows[:_ROWS], more=len(rows) > _ROWS)


@pages.get("/new")
@guard_page
def choose_documents(problem: str = "", chosen: Sequence[str] = ()) -> str:
    """Show the documents that a submission may be made of; `problem` is why the chosen ones are not taken."""
    groups = list_document_groups(services.hub.rules.bundle)
    return render_template("filing/new.html", groups=groups, problem=problem, chosen=chosen)


@pages.post("/new")
@guard_page
def begin_draft() -> AnyResponse | tuple[str, int]:
    """Begin a draft for the chosen documents."""
    chosen = tuple(dict.fromkeys(request.form.getlist("document")))
    try:
        number = begin_document_draft(chosen)
    except DraftRefusedError as refusal:
        return choose_documents(str(refusal), chosen), refusal.status
    return redirect(f"/console/submissions/{number}")


@pages.get("/<int:number>")
@guard_page
def show_draft(number: int) -> str:
    """Show a draft, or the submission that was made of it."""
    draft = load_draft(number)
    handed_in = find_handed_in(draft)
    if handed_in is not None:
        return render_template("filing/handed_in.html", draft=draft, done=handed_in)
    report = check_open_draft(draft)
    counts: dict[str, int] = {}
    for finding in report.findings:
        if finding.key is not None and finding.refuses:
            page = find_field_page(finding.key).partition("?")[0]
            counts[page] = counts.get(page, 0) + 1
    return render_template(
        "filing/draft.html",
        draft=draft,
        sections=list_sections(draft),
        counts=counts,
        report=report,
        summary=_list_finding_summaries(draft, report) if request.args.get("check") else (),
    )


def _list_finding_summaries(draft: Draft, report: DraftReport) -> list[dict[str, Any]]:
    """Return every finding with the label and the page of its field."""
    titles = make_title_finder(draft)
    return [
        {
            "finding": finding,
            "label": titles(finding.key) if finding.key is not None else "",
            "path": f"{draft.path}/{find_field_page(finding.key)}" if finding.key is not None else "",
        }
        for finding in report.findings
    ]


def _make_painter(draft: Draft, report: DraftReport | None) -> FormPainter:
    errors = report.list_errors() if report is not None else {}
    return make_painter(draft.values, errors, {file.cid: file for file in draft.files})


def _render_section(draft: Draft, path: str, problem: str = "") -> str:
    """Return the page of the draft's section `path`; answer 404 without such a section.

    If the URL has ``check``, the page shows the findings of the check, too.
    """
    checked = bool(request.args.get("check"))
    report = check_open_draft(draft) if checked else None
    painter = _make_painter(draft, report)
    views = draw_page(painter, draft, path)
    sections = list_sections(draft)
    if not views and not any(section.path == path for section in sections):
        abort(HTTPStatus.NOT_FOUND)
    inputs = list_page_inputs(views)
    wrong = [node for node in inputs.values() if node.errors]
    index = next((at for at, section in enumerate(sections) if section.path == path), 0)
    return render_template(
        "filing/section.html",
        draft=draft,
        views=views,
        lists=painter.lists,
        section=sections[index],
        before=sections[index - 1] if index else None,
        after=sections[index + 1] if index + 1 < len(sections) else None,
        wrong=wrong,
        warnings=report.list_warnings(inputs.keys()) if report is not None else (),
        checked=checked,
        problem=problem,
    )


def _answer_save(draft: Draft, path: str) -> AnyResponse | tuple[str, int]:
    """Save the typed values, then do the action of the button: stay and check, go on, add or remove."""
    painter = _make_painter(draft, None)
    views = draw_page(painter, draft, path)
    if not views:
        abort(HTTPStatus.NOT_FOUND)
    try:
        typed = read_typed_page(draft, list_page_inputs(views), request.form, request.files, painter.zone)
        values = apply_button(typed.values, views, request.form.get("act", ""))
        new_values = replace(draft.values, values=values)
        save_draft(draft, new_values, read_version(), typed.files)
    except DraftChangedError as refusal:
        typed_draft = replace(draft, values=replace(draft.values, values=typed.values))
        return _render_section(typed_draft, path, problem=str(refusal)), refusal.status
    except DraftRefusedError as refusal:
        return _render_section(draft, path, problem=str(refusal)), refusal.status
    return redirect(_find_next_page(draft, path))


def _find_next_page(draft: Draft, path: str) -> str:
    """Return where a button of a section leads to."""
    act, _, rest = request.form.get("act", "").partition("|")
    section_path = f"{draft.path}/{path}"
    if act in ("add", "remove"):
        parent_key, name = rest.split("|")[:2] if "|" in rest else (rest, "")
        return f"{section_path}#{make_element_id(f'{parent_key}/{name}')}"
    if act == "check":
        return f"{section_path}?check=1#summary"
    if act == "next":
        return f"{draft.path}/{rest}" if rest else draft.path
    return section_path


@pages.get("/<int:number>/files/<int:file>")
@guard_page
def download_file(number: int, file: int) -> Response:
    """Answer a file of a draft: to be stored, never to be shown by the browser."""
    draft = load_draft(number)
    with read_transaction(services.engine) as conn:
        row = submission_drafts.find_file_content(conn, draft.id, file)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    return make_download(row.name, row.content)
