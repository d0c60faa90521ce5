"""Findings about the WSDLs that agencies agreed on: which of them does not take what the mappings write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.delivery import BoundSchemas, build_partners, read_bound_schemas
from gateway.errors import CONTRACT_UNFIT, STORED_MAPPINGS_UNREAD, GatewayError
from gateway.harmonize import (
    DocumentMapping,
    MappingBundle,
    get_carrier_form,
    get_request_schema,
    list_unfit_places,
)
from gateway.hub import CUSTOMS, load_active_rules, load_shipped_rules
from gateway.operations.display_zone import format_moment
from gateway.operations.mapping_plans import find_mapping_plan

__all__ = ["UnfitContract", "find_contract_warnings", "find_unfit_contracts"]

#: How many places of a document a finding names.
_MOST_PLACES: Final = 5


@dataclass(frozen=True, slots=True)
class UnfitContract:
    """A document that the WSDL of its agency does not take as the mappings write it, and what is missing.

    `is_certain` is false where the two schemas could not be compared. `form` is the form in which the
    agency gets its documents.
    """

    agency: str
    document: str
    wsdl: str
    lacks: str
    is_certain: bool = True
    form: str = "xml"

    def __str__(self) -> str:
        if not self.is_certain:
            return (
                f"{CONTRACT_UNFIT.id} whether the WSDL of agency {self.agency} ({self.wsdl}) takes every "
                f"request of {self.document} is not known: {self.lacks}"
            )
        return (
            f"{CONTRACT_UNFIT.id} the WSDL of agency {self.agency} ({self.wsdl}) does not take every "
            f"request of {self.document}: it {self.lacks}; the agency refuses these. {self.remedy}"
        )

    @property
    def remedy(self) -> str:
        """Return what an operator does about it, as a sentence without its full stop."""
        if self.form != "xml":
            return f'Set agency.{self.agency}.wsdl to one that has, as "agency-template.wsdl"'
        return (
            f"Make it again with `gateway map build`, agree on it, and set agency.{self.agency}.wsdl_sha256"
        )


def find_unfit_contracts(settings: Settings, bundle: MappingBundle) -> Iterator[UnfitContract]:
    """Yield the documents of the mappings that the WSDLs of their agencies do not take.

    Only an agency with an address has agreed to a WSDL. One that decides at the console has no system. Of a
    WSDL that cannot be read it is not known.
    """
    partners = build_partners(settings)
    bound: dict[str, BoundSchemas] = {}
    for document in bundle.documents.values():
        agency = document.organisation
        partner = partners.get(agency)
        if partner is None or partner.console or agency == CUSTOMS:
            continue
        name = partner.wsdl if isinstance(partner.wsdl, str) else partner.wsdl.name
        try:
            if agency not in bound:
                bound[agency] = read_bound_schemas(partner.wsdl)
            lacks = _find_lack(bound[agency], document, bundle)
        except GatewayError as problem:
            words = f"{problem.detail} ({problem.location})"
            yield UnfitContract(agency, document.id, name, words, is_certain=False)
            continue
        if lacks:
            form = get_carrier_form(bundle, agency).form
            yield UnfitContract(agency, document.id, name, lacks, form=form)


def find_contract_warnings(conn: Connection, settings: Settings, at: datetime) -> Iterator[str]:
    """Yield a warning for each document that the WSDL of its agency does not take, now or when planned."""
    rules = load_shipped_rules()
    now = set(find_unfit_contracts(settings, load_active_rules(conn, rules, at).bundle))
    yield from sorted(map(str, now))
    plan = find_mapping_plan(conn, at)
    if plan is not None and plan.starts is not None:
        try:
            planned = load_active_rules(conn, rules, plan.starts).bundle
        except GatewayError as error:
            if error.problem is not STORED_MAPPINGS_UNREAD:
                raise
            yield f"the mappings that are planned from {format_moment(plan.starts)} on do not load: {error}"
            return
        for one in sorted(map(str, set(find_unfit_contracts(settings, planned)) - now)):
            yield f"{one} (from {format_moment(plan.starts)} on, when the planned mappings come into force)"


def _find_lack(bound: BoundSchemas, document: DocumentMapping, bundle: MappingBundle) -> str:
    """Return what a WSDL lacks of a document as a phrase, nothing where it takes it.

    Raises GW519 where that cannot be found out.
    """
    form = get_carrier_form(bundle, document.organisation).form
    if form != "xml":
        return "" if bound.takes_carried() else f"has no place for the form {form}"
    if not bound.takes_document(document.namespace):
        return f"names no namespace {document.namespace}"
    if bound.namespaces is None:
        return ""
    octets = bound.schemas.get(document.namespace)
    if octets is None:
        detail = "its schema is not beside it, as the WSDL imports it"
        raise GatewayError(CONTRACT_UNFIT, detail, document.namespace)
    places = list_unfit_places(octets, get_request_schema(bundle, document))
    more = len(places) - _MOST_PLACES
    return "; it ".join(places[:_MOST_PLACES]) + (f"; and {more} more places differ" if more > 0 else "")
