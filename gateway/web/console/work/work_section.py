"""Puts the pages of officers together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint

from gateway.web.console.work.act_desk import WorkDesk
from gateway.web.console.work.act_pages import add_act_pages
from gateway.web.console.work.application_pages import add_application_pages
from gateway.web.console.work.batch_pages import add_batch_pages
from gateway.web.console.work.claim_pages import add_claim_pages
from gateway.web.console.work.proposal_pages import add_proposal_pages
from gateway.web.console.work.statistics_pages import add_statistics_page
from gateway.web.console.work.work_pages import add_work_pages

if TYPE_CHECKING:
    from gateway.web.console.console_services import ConsoleServices

__all__ = ["build_work_section"]


def build_work_section(services: ConsoleServices) -> Blueprint:
    """Return the pages of officers."""
    pages = Blueprint("work", __name__, url_prefix="/console")
    work = WorkDesk(services, services.desk)
    add_work_pages(pages, work)
    add_application_pages(pages, work)
    add_act_pages(pages, work)
    add_proposal_pages(pages, work)
    add_batch_pages(pages, work)
    add_claim_pages(pages, work)
    add_statistics_page(pages, work)
    return pages
