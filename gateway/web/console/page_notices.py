"""The sentence that a person reads on the next page, after a form was taken."""

from __future__ import annotations

from gateway.store import sessions, write_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.page_guards import get_visitor

__all__ = ["leave_notice"]


def leave_notice(services: ConsoleServices, sentence: str) -> None:
    """Store the sentence for the next page of the visitor."""
    with write_transaction(services.engine, "console.notice") as conn:
        sessions.set_notice(conn, get_visitor().session, sentence)
