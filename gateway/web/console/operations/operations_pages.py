"""The pages of operators, put together from their sections."""

from __future__ import annotations

from flask import Blueprint

from gateway.operations import OperatorDesk, set_display_zone
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.operations.act_pages import add_act_pages
from gateway.web.console.operations.audit_pages import add_audit_pages
from gateway.web.console.operations.dashboard_page import add_dashboard_page
from gateway.web.console.operations.delivery_pages import add_delivery_pages
from gateway.web.console.operations.object_pages import add_object_pages
from gateway.web.console.operations.operator_words import describe_state, name_act, name_lane_state
from gateway.web.console.operations.problem_pages import add_problem_pages
from gateway.web.console.operations.register_pages import add_register_pages
from gateway.web.console.operations.search_page import add_search_page
from gateway.web.console.operations.status_notice_pages import add_status_notice_pages

__all__ = ["build_operations_pages"]


def build_operations_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages."""
    pages = Blueprint("operations", __name__, url_prefix="/console/operations")
    settings = services.settings
    desk = OperatorDesk(services.engine, settings, services.clock, frozenset(settings.console.second_person))
    # The sentences that the verbs say, too, state their times in the zone of the hub.
    pages.before_request(lambda: set_display_zone(settings.hub.time_zone))
    pages.context_processor(
        lambda: {
            "describe_state": describe_state,
            "name_act": name_act,
            "name_lane_state": name_lane_state,
            "second_person": desk.second_person,
        }
    )
    add_dashboard_page(pages, services)
    add_search_page(pages, services)
    add_delivery_pages(pages, services)
    add_object_pages(pages, services)
    add_act_pages(pages, services, desk)
    add_register_pages(pages, services, desk)
    add_problem_pages(pages, services)
    add_audit_pages(pages, services)
    add_status_notice_pages(pages, services)
    return pages
