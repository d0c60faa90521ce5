"""Puts the pages of officers together."""

from __future__ import annotations

from flask import Blueprint

from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.work.act_desk import WorkDesk
from gateway.web.console.work.act_pages import add_act_pages
from gateway.web.console.work.application_pages import add_application_page
from gateway.web.console.work.batch_pages import add_batch_pages
from gateway.web.console.work.claim_pages import add_claim_pages
from gateway.web.console.work.proposal_pages import add_proposal_pages
from gateway.web.console.work.sent_applications import add_application_files
from gateway.web.console.work.work_pages import add_work_pages
from gateway.web.officers import build_officer_desk

__all__ = ["build_work_section"]


def build_work_section(services: ConsoleServices) -> Blueprint:
    """Return the pages of officers."""
    pages = Blueprint("work", __name__, url_prefix="/console")
    desk = services.desk or build_officer_desk(services.hub, services.settings, services.public_url)
    work = WorkDesk(services, desk)
    add_work_pages(pages, work)
    add_application_page(pages, work)
    add_application_files(pages, services)
    add_act_pages(pages, work)
    add_proposal_pages(pages, work)
    add_batch_pages(pages, work)
    add_claim_pages(pages, work)
    return pages
