"""Judges a CPA by all rules: of its form, and where that is good of its content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from gateway.agreements.agreement_rules import AgreementFinding, sort_findings
from gateway.agreements.cpa.channel_checks import CHANNEL_CHECKS, TRANSPORT_CHECKS
from gateway.agreements.cpa.channel_conversion import make_packaging
from gateway.agreements.cpa.cpa_model import Composite, Constituent, CpaDocument, PackagingTerms, Place
from gateway.agreements.cpa.cpa_reader import find_validity_problems, read_cpa
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Findings, build_view, cite_rule, quote_name
from gateway.agreements.cpa.party_checks import BINDING_CHECKS, PARTY_CHECKS
from gateway.agreements.cpa.pmode_conversion import convert_action
from gateway.agreements.cpa.security_checks import CERTIFICATE_CHECKS, SECURITY_CHECKS
from gateway.agreements.filing_actions import describe_mailbox_filing, list_mailbox_filings
from gateway.agreements.pmode import PMode
from gateway.agreements.register_lengths import check_pmode_lengths
from gateway.errors import GatewayError
from gateway.wire import C14N, C14N_EXCLUSIVE

_SUPPORTED_TRANSFORMS: Final = (C14N, C14N_EXCLUSIVE)


def _list_used_packages(view: CpaView) -> Iterator[PackagingTerms]:
    """Yield each package of an action once."""
    names = dict.fromkeys(
        name for action in view.actions for name in (action.binding.package, action.receiving_binding.package)
    )
    yield from (view.document.packages[name] for name in names if name in view.document.packages)


def _find_shape_problems(view: CpaView) -> Findings:
    """Yield findings on used packages that contain themselves, begin without XML, or have a wrong type."""
    for package in _list_used_packages(view):
        if _contains_itself(package):
            text = f"package {quote_name(package.id)} has a composite that contains itself"
            yield cite_rule("package-circular", package.location, text)
            continue
        packaging = make_packaging(view.document, package.id)
        if packaging is None:  # it has no part: `_find_reference_problems` reports why
            continue
        if packaging.parts[0].mime_type.partition(";")[0].strip().lower() not in ("text/xml", "*/*"):
            text = (
                f"package {quote_name(package.id)} begins with {quote_name(packaging.parts[0].mime_type)}; "
            )
            text += "expected is text/xml"
            yield cite_rule("package-root", package.location, text)
        if len(packaging.parts) > 1 and not packaging.mime_type.lower().startswith("multipart/related"):
            text = f"package {quote_name(package.id)} has {len(packaging.parts)} parts and is "
            text += quote_name(packaging.mime_type)
            yield cite_rule("package-type", package.location, text)


def _contains_itself(package: PackagingTerms) -> bool:
    """Return whether a composite of the package contains itself, directly or through other composites."""
    constituent_ids = {
        composite.id: {each.idref for each in composite.constituents} for composite in package.composites
    }
    for start_id in constituent_ids:
        reached_ids, unvisited_ids = set[str](), [start_id]
        while unvisited_ids:
            for inner_id in constituent_ids.get(unvisited_ids.pop(), set()) - reached_ids:
                if inner_id == start_id:
                    return True
                reached_ids.add(inner_id)
                unvisited_ids.append(inner_id)
    return False


def _find_incapable_packages(view: CpaView) -> Findings:
    for package in _list_used_packages(view):
        for is_capable, verb in ((package.can_generate, "made"), (package.can_parse, "parsed")):
            if not is_capable:
                text = f"package {quote_name(package.id)} is in use and cannot be {verb}"
                yield cite_rule("package-incapable", package.location, text)


def _list_constituents(view: CpaView) -> Iterator[tuple[Composite, Constituent]]:
    for package in _list_used_packages(view):
        for composite in package.composites:
            yield from ((composite, constituent) for constituent in composite.constituents)


def _find_part_problems(view: CpaView) -> Findings:
    """Yield findings on parts that are not signed, are transformed, or have a minimum above the maximum."""
    for _, constituent in _list_constituents(view):
        name = quote_name(constituent.idref)
        if constituent.excluded_from_signature:
            text = f"{name} is excluded from the signature: the hub signs and wants signed every part"
            yield cite_rule("part-unsigned", constituent.location, text)
        if (
            constituent.min_occurs is not None
            and constituent.max_occurs is not None
            and constituent.min_occurs > constituent.max_occurs
        ):
            text = (
                f"{name} occurs {constituent.min_occurs} times at least and {constituent.max_occurs} at most"
            )
            yield cite_rule("part-occurs", constituent.location, text)
        unsupported_transforms = [
            each for each in constituent.transforms if each not in _SUPPORTED_TRANSFORMS
        ]
        if unsupported_transforms:
            transform = quote_name(unsupported_transforms[0])
            text = f"{name} is transformed by {transform} for its signature, not by the hub"
            yield cite_rule("part-transformed", constituent.location, text)


PACKAGING_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_shape_problems,
    _find_incapable_packages,
    _find_part_problems,
)


#: The elements that belong to one party; packages and parts belong to both.
_OWNED: Final = ("DeliveryChannel", "Transport", "DocExchange", "Certificate", "SecurityDetails")
_UNUSED_RULES: Final = {
    "DeliveryChannel": "channel-unused",
    "Transport": "transport-unused",
    "DocExchange": "exchange-unused",
    "Certificate": "certificate-unused",
    "SecurityDetails": "security-unused",
    "Packaging": "package-unused",
    "SimplePart": "part-unused",
}


def _join_kinds(element_names: Iterable[str]) -> str:
    return " or ".join(element_names)


def _find_reference_problems(view: CpaView) -> Findings:
    """Yield a finding for each reference to no element, to a wrong kind, or to one of the other party."""
    for location, name, kinds in view.document.references:
        target = view.document.elements_by_id.get(name)
        if target is None:
            text = f"no {_join_kinds(kinds)} has the id {quote_name(name)}"
            yield cite_rule("reference-unresolved", location, text)
        elif target[0] not in kinds:
            text = f"{quote_name(name)} is a {target[0]}; expected is a {_join_kinds(kinds)}"
            yield cite_rule("reference-mistyped", location, text)
        elif target[0] in _OWNED and _get_owner(location) != _get_owner(target[1]):
            text = f"{target[0]} {quote_name(name)} belongs to the other party"
            yield cite_rule("reference-foreign", location, text)


def _get_owner(location: Place) -> str:
    """Return the step of the XPath of `location` that names the party."""
    return next((step for step in location.xpath.split("/") if step.startswith("tp:PartyInfo")), "")


def _find_unused_parts(view: CpaView) -> Findings:
    used_ids = {name for _, name, _ in view.document.references}
    for element_id, (element_name, location) in view.document.elements_by_id.items():
        rule_id = _UNUSED_RULES.get(element_name)
        if rule_id is not None and element_id not in used_ids:
            yield cite_rule(rule_id, location, f"nothing refers to {element_name} {quote_name(element_id)}")


def _find_foreign_elements(view: CpaView) -> Findings:
    """Yield a finding for each element of another namespace in a binding; such elements are not read."""
    for party in view.document.parties:
        for _, binding, _ in party.list_bindings():
            for element_tag in binding.foreign_elements:
                text = (
                    f"element {quote_name(element_tag.rpartition('}')[2])} of another namespace is not read"
                )
                yield cite_rule("terms-foreign", binding.location, text)


def _find_conversion_problems(view: CpaView) -> Findings:
    """Yield a finding for each action that cannot be converted into a P-Mode, or whose names are too long.

    The rules above state the reason more exactly, where they can. Among the actions that can be converted,
    each one that brings submissions and opens no case is a finding too.
    """
    if view.document.start is None or view.document.end is None or view.document.start >= view.document.end:
        return
    converted_pmodes: list[tuple[PMode, Place]] = []
    for action in view.actions:
        try:
            pmode = convert_action(action)
            check_pmode_lengths(pmode)
            converted_pmodes.append((pmode, action.binding.location))
        except GatewayError as refused:
            yield cite_rule("terms-wrong", action.binding.location, refused.detail)
    mailbox_filings = list_mailbox_filings(pmode for pmode, _ in converted_pmodes)
    for pmode, binding_place in converted_pmodes:
        if pmode in mailbox_filings:
            yield cite_rule("filing-in-mailbox", binding_place, describe_mailbox_filing(pmode))


REFERENCE_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_reference_problems,
    _find_unused_parts,
    _find_foreign_elements,
)
#: Run when nothing else is wrong.
CONVERSION_CHECKS: Final[tuple[CpaCheck, ...]] = (_find_conversion_problems,)


_CHECKS: Final[tuple[CpaCheck, ...]] = (
    *REFERENCE_CHECKS,
    *PARTY_CHECKS,
    *BINDING_CHECKS,
    *CHANNEL_CHECKS,
    *SECURITY_CHECKS,
    *CERTIFICATE_CHECKS,
    *TRANSPORT_CHECKS,
    *PACKAGING_CHECKS,
)


class CpaJudgment(NamedTuple):
    """A document, None where its form is wrong, and the findings on it, errors first."""

    document: CpaDocument | None
    findings: tuple[AgreementFinding, ...]


def check_cpa(document_octets: bytes, file_name: str, at: datetime) -> CpaJudgment:
    """Return the content of a CPA and every finding on it at the time `at`.

    It raises for no document, however malformed.
    """
    problems = find_validity_problems(document_octets, file_name)
    if problems:
        # A document that is not even XML has no path.
        rule = "xml" if problems[0].location.xpath == "/" else "schema"
        return CpaJudgment(
            None, tuple(cite_rule(rule, problem.location, problem.message) for problem in problems)
        )
    document = read_cpa(document_octets, file_name)
    return CpaJudgment(document, _list_findings(document, at))


def _list_findings(document: CpaDocument, at: datetime) -> tuple[AgreementFinding, ...]:
    """Return every finding on a document, errors first, each once at its place."""
    view = build_view(document, at)
    findings = [finding for check in _CHECKS for finding in check(view)]
    if not any(finding.severity == "error" for finding in findings):
        findings += [finding for check in CONVERSION_CHECKS for finding in check(view)]
    first_findings: dict[tuple[str, str | None], AgreementFinding] = {}
    for finding in findings:
        first_findings.setdefault((finding.rule, finding.xpath), finding)
    return sort_findings(first_findings.values())
