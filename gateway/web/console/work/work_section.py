"""Puts the pages of officers together."""

from __future__ import annotations

from flask import Blueprint

from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.work.application_pages import add_application_pages
from gateway.web.console.work.work_pages import add_work_pages

__all__ = ["build_work_section"]


def build_work_section(services: ConsoleServices) -> Blueprint:
    """Return the pages of officers."""
    pages = Blueprint("work", __name__, url_prefix="/console")
    add_work_pages(pages, services)
    add_application_pages(pages, services)
    return pages
