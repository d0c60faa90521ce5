"""Splits one submission into a request for each application, and accounts for every leaf of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from gateway.errors import MAPPING_MISSING, REQUEST_INVALID, RULE_BROKEN, GatewayError
from gateway.harmonize.applying.answers import read_answers
from gateway.harmonize.applying.checking import apply_checks
from gateway.harmonize.applying.ledger import Accounts, settle
from gateway.harmonize.applying.render import Origin, render
from gateway.harmonize.applying.requirements import check_asks, check_needs
from gateway.harmonize.building.schemas import request_schema
from gateway.harmonize.given.facts import Facts, Leaf, read_facts
from gateway.harmonize.given.scopes import MOST_TROUBLES, Scope, Trace, Trouble
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document
from gateway.wire.compiling import compile_schema
from gateway.wire.judging import refusal
from gateway.wire.namespaces import SUB

__all__ = ["Request", "Split", "compile_requests", "placeholder_numbers", "split"]

_SUB: Final = f"{{{SUB}}}"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent: its XML, and the origin of each value in it."""

    organisation: str
    document: str
    application: str
    items: tuple[str, ...]
    laws: tuple[str, ...]
    attachments: tuple[str, ...]
    xml: etree._Element
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """What a submission became: requests, accounts of every leaf, and what is wrong with it."""

    requests: tuple[Request, ...]
    accounts: Accounts
    problems: tuple[Trouble, ...]
    bundle: str
    facts: Facts = field(repr=False)

    @property
    def unaccounted(self) -> tuple[Leaf, ...]:
        """Return the leaves without a fate for some document; a right mapping leaves none."""
        return self.accounts.unaccounted


def split(root: etree._Element, bundle: Bundle, hub_values: Mapping[str, Mapping[str, str]]) -> Split:
    """Split the submission `root`; `hub_values` gives the hub's own values by application id.

    Nothing wrong with the submission is raised: it is listed, with its pointer, and the
    application concerned yields no request while its leaves keep their fates.  What is
    raised is a root that is no submission, and a request that its own schema refuses.
    """
    facts = read_facts(root)
    traces: dict[str, Trace] = {}
    requests: list[Request] = []
    strangers: list[Trouble] = []
    unmapped: dict[str, None] = {}
    function = (root.findtext(f"{_SUB}Function") or "").strip() or "9"
    for application in facts.applications:
        name, identity = str(application.get("document", "")), str(application.get("id", ""))
        document = bundle.documents.get(name)
        if document is None:
            detail = f"no mapping for the document {name[:70]!r}"
            unmapped[name] = None
            if len(strangers) >= MOST_TROUBLES:
                continue
            strangers.append(Trouble(MAPPING_MISSING, detail, facts.pointer(application), name, identity))
            continue
        trace = traces.setdefault(name, Trace(name))
        hub = {"function": function, **hub_values.get(identity, {})}
        request = _apply(facts, bundle, document, (trace, application, hub))
        if request is not None:
            requests.append(request)
    problems = (*strangers, *(trouble for trace in traces.values() for trouble in trace.troubles))
    documents = [bundle.documents[name] for name in traces]
    accounts = settle(facts, documents, traces, tuple(unmapped))
    return Split(tuple(requests), accounts, problems, bundle.digest, facts)


def _apply(
    facts: Facts, bundle: Bundle, document: Document, where: tuple[Trace, etree._Element, Mapping[str, str]]
) -> Request | None:
    trace, application, hub = where
    identity = str(application.get("id", ""))
    numbers = facts.numbers(application)
    answers = read_answers(facts, document, bundle, trace, application)
    scope = Scope(facts, bundle.dictionary, answers, trace, identity, numbers, hub)
    pointer = facts.pointer(application)
    for number in numbers:
        if number not in facts.items or number in facts.repeated:
            finding = "does not have" if number not in facts.items else "has more than once"
            detail = f"the application names goods item {number[:20]!r}, which the declaration {finding}"
            trace.trouble(RULE_BROKEN, detail, f"{pointer}/Items", (identity, document.mark))
    if not numbers:
        trace.trouble(RULE_BROKEN, "the application names no goods item", pointer, (identity, document.mark))
    check_needs(scope, document)
    check_asks(scope, document, f"{pointer}/{document.id}")
    apply_checks(scope, document, f"{pointer}/{document.id}")
    xml, origins = render(document, scope)
    if identity in trace.failed:
        return None
    _judge(bundle, document, xml)
    cids = _listed(facts, application, origins)
    return Request(document.organisation, document.id, identity, numbers, document.laws, cids, xml, origins)


def _listed(facts: Facts, application: etree._Element, origins: Iterable[Origin]) -> tuple[str, ...]:
    """Return the content ids of the attachments that the request names, in the order of the application."""
    cids = [str(a.get("cid", "")) for a in application.findall(f"{_SUB}Attachment")]
    if not cids:
        return ()
    leaves = (facts.leaves[number] for origin in origins for number in origin.leaves)
    named = {leaf.value for leaf in leaves if leaf.attribute == "cid"}
    return tuple(cid for cid in cids if cid in named)


def _judge(bundle: Bundle, document: Document, xml: etree._Element) -> None:
    """Refuse a request that its own schema refuses: the mapping is wrong, not the submission (GW504)."""
    reason = refusal(_schema_of(bundle, document), xml)
    if reason is not None:
        raise GatewayError(
            REQUEST_INVALID, f"{document.id}: {reason.message[:300]}", reason.path or str(document.mark)
        )


def _schema_of(bundle: Bundle, document: Document) -> Any:
    schema: Any = bundle.compiled.get(document.id)
    if schema is None:
        schema = compile_schema(request_schema(document).encode("utf-8"))
        bundle.compiled[document.id] = schema
    return schema


def compile_requests(bundle: Bundle) -> None:
    """Compile the schema of every document's request now, rather than at its first split."""
    for document in bundle.documents.values():
        _schema_of(bundle, document)


def placeholder_numbers(root: etree._Element) -> dict[str, dict[str, str]]:
    """Return hub values for a trial split: application numbers that count from 1."""
    found = {}
    for number, application in enumerate(root.findall(f"{_SUB}Application"), 1):
        found[str(application.get("id", ""))] = {"application_number": f"T{number:012d}"}
    return found
