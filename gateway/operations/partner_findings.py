"""Findings about partners: addresses, deliveries, trust, contracts, filings without case, declarations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.agreements import FILING_FUNCTIONS, PMode, is_filing_message, list_filing_services
from gateway.config import Settings
from gateway.delivery import BoundSchemas, build_partners, read_bound_schemas
from gateway.errors import (
    ATTEMPTS_USED_UP,
    CONTRACT_UNFIT,
    NO_ADDRESS,
    PROBLEMS,
    REVOCATION_UNKNOWN,
    STORED_MAPPINGS_UNREAD,
    GatewayError,
)
from gateway.harmonize import (
    DocumentMapping,
    MappingBundle,
    get_carrier_format,
    get_request_schema,
    list_unfit_places,
)
from gateway.hub import (
    CUSTOMS,
    Hub,
    PModeTexts,
    find_issuer_trust_store,
    list_authority_periods,
    list_revocation_remarks,
    load_active_rules,
    load_pmode_texts,
    load_shipped_rules,
    read_fetch_sources,
)
from gateway.monitor import SourceFreshness, SourceTerm, list_source_freshness, make_expiry_warnings
from gateway.operations.mapping_activation import find_mapping_plan
from gateway.operations.plain_values import format_count, format_moment, shorten_text
from gateway.pki import AcceptanceTerms, check_issuer_path
from gateway.store import (
    FailedDeliveriesRow,
    RestingMessagesRow,
    WaitingDeliveriesRow,
    deliveries,
    delivery_leases,
    delivery_maintenance,
    mailbox_messages,
    parties,
    read_transaction,
)

#: A delivery that is older and has not ended is stuck: the longest wait between attempts is shorter.
_MAX_WAITING_TIME: Final = timedelta(hours=1)
#: How much of a partner's words a finding repeats.
_MAX_PARTNER_TEXT: Final = 200


def find_missing_addresses(settings: Settings, bundle: MappingBundle) -> Iterator[str]:
    """Yield a warning for each agency of the mappings, and for customs, that cannot be called."""
    partners = build_partners(settings)
    documents_by_agency = Counter(document.organisation for document in bundle.documents.values())
    for agency, document_count in sorted(documents_by_agency.items()):
        if agency not in partners:
            documents = format_count(document_count, "document")
            yield (
                f"{NO_ADDRESS.id} agency {agency} has no address, and {documents} of the mappings in force "
                f"ask it: set agency.{agency}.endpoint"
            )
    if CUSTOMS not in partners:
        yield f"{NO_ADDRESS.id} customs has no address and is told nothing: set customs.endpoint"


def find_tariff_warnings(settings: Settings, bundle: MappingBundle) -> Iterator[str]:
    """Yield a warning for each document whose fee is due first and has no tariff, and for each odd tariff."""
    tariffs = settings.fees.tariff
    for name, document in sorted(bundle.documents.items()):
        if document.fee.due == "before_forwarding" and name not in tariffs:
            yield (
                f"document {name} has a fee that is due before forwarding, and no tariff: its applications "
                f"are forwarded unpaid; set fees.tariff.{name}"
            )
    for name in sorted(set(tariffs) - set(bundle.documents)):
        yield f"fees.tariff names {name[:60]}, which is no document of the mappings in force: nobody pays it"


def find_failed_deliveries(conn: Connection) -> Iterator[GatewayError]:
    """Yield a problem for each lane and problem id with deliveries that are FAILED.

    A row without a known problem is reported as GW604: the delivery failed, and its row does not say why.
    """
    for summary_row in deliveries.summarize_failed(conn):
        problem = PROBLEMS.get(summary_row.problem or "", ATTEMPTS_USED_UP)
        count_text = format_count(summary_row.number, "delivery is FAILED", "deliveries are FAILED")
        newest_text = _describe_newest(conn, summary_row, with_id=summary_row.problem != problem.id)
        detail = f"{count_text}, the newest is delivery {newest_text}"
        yield GatewayError(problem, detail, f"lane {summary_row.lane[:80]}")


def find_stuck_deliveries(conn: Connection, now: datetime) -> Iterator[str]:
    """Yield a warning for each lane with deliveries that have waited for more than an hour."""
    for row in deliveries.summarize_waiting(conn, now - _MAX_WAITING_TIME):
        hours = (now - row.oldest).total_seconds() / 3600
        count_text = format_count(row.number, "delivery waits", "deliveries wait")
        yield (
            f"lane {row.lane[:80]}: {count_text} in the state {row.state}, the oldest for {hours:.0f} h, "
            f"the newest is delivery {_describe_newest(conn, row, with_id=True)} (see `gateway queue list`)"
        )


def find_clock_warnings(conn: Connection, now: datetime) -> Iterator[str]:
    """Yield a warning where the database has times far ahead: the clock was ahead, or was set back."""
    newest_time = delivery_maintenance.find_newest_time(conn)
    if newest_time is None or newest_time <= now + delivery_maintenance.FAR:
        return
    hours = (newest_time - now).total_seconds() / 3600
    count_text = format_count(
        delivery_maintenance.count_far_waits(conn, now), "delivery waits", "deliveries wait"
    )
    yield (
        f"the clock was ahead, or was set back: the newest time in the database is {hours:.1f} h ahead, and "
        f"{count_text} for a time that is more than five minutes ahead; a working hub draws these times in"
    )


def _describe_newest(
    conn: Connection, summary_row: FailedDeliveriesRow | WaitingDeliveriesRow, *, with_id: bool
) -> str:
    """Return the number of the newest delivery of a summary, our sentence about it, the partner's words.

    With `with_id` the id of its problem is added, for a problem that the catalogue does not have.
    """
    newest_delivery = deliveries.find_by_id(conn, summary_row.newest)
    if newest_delivery is None:
        return str(summary_row.newest)
    partner_text = delivery_leases.list_last_answer_texts(conn, [newest_delivery.id]).get(newest_delivery.id)
    own_text = " ".join(
        part for part in (newest_delivery.problem if with_id else None, newest_delivery.last_sentence) if part
    )
    partner_clause = f"they said: {shorten_text(partner_text, _MAX_PARTNER_TEXT)}" if partner_text else ""
    problem_text = "; ".join(part for part in (own_text, partner_clause) if part)
    return f"{newest_delivery.id}: {problem_text}" if problem_text else str(newest_delivery.id)


def collect_trust_remarks(settings: Settings, hub: Hub) -> tuple[str, ...]:
    """Return all remarks for the operator except those on stale sources; the register must be loaded."""
    at = hub.clock()
    remarks = (
        source.format_remark() for source in read_source_freshness(settings, hub) if source.state != "stale"
    )
    expiry_texts = (warning.text for warning in make_expiry_warnings(list_authority_periods(hub), at))
    return (*(remark for remark in remarks if remark), *list_revocation_remarks(hub, at), *expiry_texts)


def find_source_problems(settings: Settings, hub: Hub) -> Iterator[GatewayError]:
    """Yield GW208 where data in force has expired, GW606 for an issuer without a path to an anchor."""
    for freshness in read_source_freshness(settings, hub):
        if freshness.state == "stale":
            yield GatewayError(REVOCATION_UNKNOWN, freshness.format_remark() or "", f"fetch.{freshness.name}")
    for source_name, source in read_fetch_sources(settings).items():
        if source.issuer is not None and source.settings.kind != "trust_list":
            try:
                check_issuer_path(
                    AcceptanceTerms(source.issuer, find_issuer_trust_store(hub, source.issuer), hub.clock())
                )
            except GatewayError as rejection:
                yield GatewayError(rejection.problem, rejection.detail, f"fetch.{source_name}.issuer")


def read_source_freshness(settings: Settings, hub: Hub) -> tuple[SourceFreshness, ...]:
    """Return the freshness of the data fetched from each source."""
    terms = {
        name: SourceTerm(source.settings.kind, source.settings.warn)
        for name, source in read_fetch_sources(settings).items()
    }
    with read_transaction(hub.engine) as conn:
        return list_source_freshness(conn, hub.clock(), terms)


def find_stamping_problem(hub: Hub) -> tuple[GatewayError | None, bool]:
    """Return the problem of stale time-stamping, and whether the hub refuses messages because of it."""
    if hub.stamping is None:
        return None, False
    return hub.stamping.find_staleness_problem(hub.clock()), hub.stamping.refuses_when_stale


#: How much of a name a finding repeats.
_MAX_NAME: Final = 80


def find_mailbox_filings(conn: Connection, settings: Settings, now: datetime) -> Iterator[str]:
    """Yield a warning for each active agreement by which a partner files submissions that open no case.

    P-Modes by which the hub itself sends submissions to a partner are left out.
    """
    own_identifiers = frozenset(parties.list_identifiers(conn, settings.hub.party))
    pmodes_by_agreement: dict[str, list[PMode]] = {}
    for pmode in load_pmode_texts(conn).list_mailbox_filings(now):
        if own_identifiers.isdisjoint(pmode.from_party):
            pmodes_by_agreement.setdefault(pmode.agreement, []).append(pmode)
    for agreement, pmodes in sorted(pmodes_by_agreement.items()):
        party_row = parties.find_by_identifier(conn, pmodes[0].from_party[0])
        partner = party_row.id if party_row is not None else pmodes[0].from_party[0].value
        actions = list(dict.fromkeys(pmode.action for pmode in pmodes))
        clause = f"agreement {agreement[:_MAX_NAME]} with {partner[:_MAX_NAME]} delivers"
        if filed_actions := [action for action in actions if action in FILING_FUNCTIONS]:
            yield (
                f"{clause} {', '.join(filed_actions)} to the mailbox: a submission gets its receipt, no case "
                "and no answer; "
                f"`gateway agreement override {agreement[:_MAX_NAME]} --deliver-to case --reason …`"
            )
        if other_actions := [action[:_MAX_NAME] for action in actions if action not in FILING_FUNCTIONS]:
            yield (
                f"{clause} {', '.join(other_actions)} to the mailbox: what comes gets its receipt, no case "
                f"and no answer; submissions are filed by {', '.join(FILING_FUNCTIONS)}"
            )


def find_resting_filings(conn: Connection, now: datetime) -> Iterator[str]:
    """Yield a warning for each agreement and action of which submissions rest in the mailbox.

    They stay there when the agreement delivers later ones to a case.
    """
    summary_rows = mailbox_messages.summarize_resting(conn)
    pmode_texts = load_pmode_texts(conn) if summary_rows else None
    for summary_row in summary_rows:
        if pmode_texts is not None and is_filing_message(
            summary_row.service, summary_row.action, _list_agreement_services(pmode_texts, summary_row)
        ):
            hours = (now - summary_row.since).total_seconds() / 3600
            count_text = format_count(
                summary_row.number,
                f"message of {summary_row.action} rests",
                f"messages of {summary_row.action} rest",
            )
            remedy = " and `gateway message admit`" if summary_row.action in FILING_FUNCTIONS else ""
            yield (
                f"agreement {str(summary_row.agreement_id)[:_MAX_NAME]}: {count_text} in the mailbox, "
                f"without case and answer, the oldest for {hours:.0f} h, message {summary_row.oldest} "
                f"(see `gateway message list --mailbox`{remedy})"
            )


def _list_agreement_services(pmode_texts: PModeTexts, summary_row: RestingMessagesRow) -> frozenset[str]:
    """Return the services for filing by an agreement.

    Only that of the contract counts if the agreement is not active, or is not read by this version.
    """
    pmodes = (
        pmode_texts.list_readable_pmodes(summary_row.agreement_id)
        if summary_row.agreement_id in pmode_texts.texts
        else ()
    )
    return list_filing_services(pmodes)


#: How many places of a document a finding names.
_MAX_LISTED_PLACES: Final = 5


@dataclass(frozen=True, slots=True)
class UnfitContract:
    """A document that the WSDL of its agency does not take as the mappings write it, and the WSDL's lack.

    `is_certain` is false where the two schemas could not be compared. `syntax` is the format in which the
    agency gets its documents.
    """

    agency: str
    document_name: str
    wsdl: str
    gap: str
    is_certain: bool = True
    syntax: str = "xml"

    def __str__(self) -> str:
        if not self.is_certain:
            return (
                f"{CONTRACT_UNFIT.id} whether the WSDL of agency {self.agency} ({self.wsdl}) takes every "
                f"request of {self.document_name} is not known: {self.gap}"
            )
        return (
            f"{CONTRACT_UNFIT.id} the WSDL of agency {self.agency} ({self.wsdl}) does not take every "
            f"request of {self.document_name}: it {self.gap}; the agency refuses these. {self.remedy}"
        )

    @property
    def remedy(self) -> str:
        """Return the remedy for an operator, as a sentence without its full stop."""
        if self.syntax != "xml":
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
    schemas_by_agency: dict[str, BoundSchemas] = {}
    for document in bundle.documents.values():
        agency = document.organisation
        partner = partners.get(agency)
        if partner is None or partner.is_at_console or agency == CUSTOMS:
            continue
        wsdl_name = partner.wsdl if isinstance(partner.wsdl, str) else partner.wsdl.relative_path
        try:
            if agency not in schemas_by_agency:
                schemas_by_agency[agency] = read_bound_schemas(partner.wsdl)
            gap = _describe_contract_gap(schemas_by_agency[agency], document, bundle)
        except GatewayError as problem:
            detail = f"{problem.detail} ({problem.location})"
            yield UnfitContract(agency, document.id, wsdl_name, detail, is_certain=False)
            continue
        if gap:
            syntax = get_carrier_format(bundle, agency).syntax
            yield UnfitContract(agency, document.id, wsdl_name, gap, syntax=syntax)


def find_contract_warnings(conn: Connection, settings: Settings, at: datetime) -> Iterator[str]:
    """Yield a warning for each document that the WSDL of its agency does not take, now or when planned."""
    rules = load_shipped_rules()
    current_contracts = set(find_unfit_contracts(settings, load_active_rules(conn, rules, at).bundle))
    yield from sorted(map(str, current_contracts))
    plan = find_mapping_plan(conn, at)
    if plan is not None and plan.starts is not None:
        try:
            planned = load_active_rules(conn, rules, plan.starts).bundle
        except GatewayError as error:
            if error.problem is not STORED_MAPPINGS_UNREAD:
                raise
            yield f"the mappings that are planned from {format_moment(plan.starts)} on do not load: {error}"
            return
        for unfit in sorted(map(str, set(find_unfit_contracts(settings, planned)) - current_contracts)):
            yield f"{unfit} (from {format_moment(plan.starts)} on, when the planned mappings come into force)"


def _describe_contract_gap(
    bound_schemas: BoundSchemas, document: DocumentMapping, bundle: MappingBundle
) -> str:
    """Return as a phrase the places of a document that a WSDL lacks; empty where it accepts the document.

    Raises GW519 where the WSDL and the document cannot be compared.
    """
    syntax = get_carrier_format(bundle, document.organisation).syntax
    if syntax != "xml":
        return "" if bound_schemas.takes_carrier_document() else f"has no place for the form {syntax}"
    if not bound_schemas.takes_document(document.namespace):
        return f"names no namespace {document.namespace}"
    if bound_schemas.namespaces is None:
        return ""
    schema_octets = bound_schemas.schemas.get(document.namespace)
    if schema_octets is None:
        detail = "its schema is not beside it, as the WSDL imports it"
        raise GatewayError(CONTRACT_UNFIT, detail, document.namespace)
    places = list_unfit_places(schema_octets, get_request_schema(bundle, document))
    unlisted_count = len(places) - _MAX_LISTED_PLACES
    return "; it ".join(places[:_MAX_LISTED_PLACES]) + (
        f"; and {unlisted_count} more places differ" if unlisted_count > 0 else ""
    )
