"""Knowledge: each problem with its meaning, cause and remedy, and how past cases of the same kind ended."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, abort, render_template

from gateway.accounts import Right
from gateway.errors import PROBLEMS
from gateway.store import exact_searches, read_transaction, refusal_counts
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.operations.list_requests import read_text
from gateway.web.console.page_guards import require_right

__all__ = ["add_problem_pages"]


def add_problem_pages(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the pages."""

    @pages.get("/problems")
    @require_right(Right.OBSERVE)
    def list_problems() -> str:
        text = read_text("text").casefold()
        with read_transaction(services.engine) as conn:
            refused = refusal_counts.count_by_problem(conn)
        found = [
            one
            for one in PROBLEMS.values()
            if text in f"{one.id} {one.title} {one.meaning} {one.cause} {one.remedy}".casefold()
        ]
        return render_template("operations/problems.html", problems=found, refused=refused, text=text)

    @pages.get("/problems/<problem>")
    @require_right(Right.OBSERVE)
    def show_problem(problem: str) -> str:
        known = PROBLEMS.get(problem.upper())
        if known is None:
            abort(HTTPStatus.NOT_FOUND)
        with read_transaction(services.engine) as conn:
            return render_template(
                "operations/problem.html",
                problem=known,
                refusals=refusal_counts.list_refusals(conn, problem=known.id),
                messages=exact_searches.list_problem_messages(conn, known.id),
                deliveries=exact_searches.list_problem_deliveries(conn, known.id),
            )
