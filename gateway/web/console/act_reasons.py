"""Person, reason and name of an act, which every form for an act of an operator needs."""

from __future__ import annotations

from typing import Final

from flask import g, request

from gateway.accounts import OrganisationKind
from gateway.operations import Operator, OperatorDesk
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import services, visitor

_LONGEST_REASON: Final = 500


def get_operator() -> Operator:
    """Return the signed-in person as the author of an act: an operator, or another manager of people."""
    organisation = visitor.organisation
    if organisation.kind is OrganisationKind.OPERATOR:
        return Operator(visitor.account, visitor.name, g.network)
    return Operator(visitor.account, visitor.name, g.network, f"{organisation.kind}/{organisation.code}")


def get_operator_desk() -> OperatorDesk:
    """Return the desk that does the acts of operators, or keeps them for a second person."""
    second_person = frozenset(services.settings.console.second_person)
    return OperatorDesk(services.engine, services.settings, services.clock, second_person)


def read_reason() -> str | None:
    """Return the reason in the form as one line; None if it is empty or too long."""
    reason = " ".join(request.form.get("reason", "").split())
    return reason if reason and len(reason) <= _LONGEST_REASON and reason.isprintable() else None


def translate_act(act: str) -> str:
    """Return the name of an operator's verb, such as ``queue try``, in the language of the reader."""
    return {
        "queue try": translate("Try now"),
        "queue hold": translate("Hold"),
        "queue release": translate("Release"),
        "queue requeue": translate("Queue again"),
        "queue cancel": translate("Cancel delivery"),
        "message admit": translate("Open its case"),
        "agency console": translate("Decide at the console"),
        "agency back": translate("Back to its own system"),
        "party suspend": translate("Suspend party"),
        "party resume": translate("Resume party"),
        "agreement load": translate("Load agreement"),
        "agreement suspend": translate("Suspend agreement"),
        "map use": translate("Use mappings"),
        "account add": translate("Add a person"),
        "account role": translate("Change roles"),
        "account invite": translate("New link to set a password"),
        "fees waive": translate("Waive fee"),
        "fees settle": translate("Paid elsewhere"),
    }.get(act, act)
