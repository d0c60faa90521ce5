"""Verifies any XML signature of a file, for the command line and other tools.

Messages and documents are verified by the profile of their protocol. Only the reading of
other parties' trusted lists uses this module; it pins the certificate and requires the whole
document as coverage. `covered` names the elements that a valid signature covers; no other
element is attested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.pki import Certificate, CertificateUse, RevocationData, TrustStore, validate_path
from gateway.wire import DEFAULT_LIMITS, DS, WireLimits, build_xpath, canonicalize_document, parse_xml
from gateway.xmlsec.algorithms import (
    C14N,
    CANONICAL_FORMS,
    ENVELOPED,
    EXCLUSIVE_C14N,
    WITHOUT_COMMENTS,
    SignaturePolicy,
    check_public_key,
    compare_digests,
    compute_digest,
    verify_signature_value,
)
from gateway.xmlsec.digest_references import EBMS2_EXPRESSION, DigestReference, Transform
from gateway.xmlsec.ebms2_signature import list_next_actor_headers
from gateway.xmlsec.element_ids import check_unique_ids, get_element_by_id, list_ids
from gateway.xmlsec.key_source import KeySource, read_key_source
from gateway.xmlsec.policy_check import (
    PolicyGround,
    PolicyViolationError,
    check_signature_policy,
    map_policy_violation,
    normalize_part_uri,
    raise_policy_violation,
)
from gateway.xmlsec.strict_reader import raise_signature_error, remove_element, select_elements
from gateway.xmlsec.xml_signature import (
    WRONG_VALUE,
    SignatureStructure,
    apply_canonicalization,
    describe_reference,
    read_signature,
)

__all__ = ["VerificationReport", "validate_signer", "verify_any_document", "verify_any_signature"]

_HOLDING: Final = etree.XPath("//*[@* = $value]")
_MOST_OBJECTS: Final = 20
_NOBODY_VOUCHES: Final = "the key stands in the signature itself, and no certificate says whose it is"


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The result of verifying one signature.

    ``invalid``: it does not match what it names, or does not have the form of a signature.
    ``refused by policy``: it uses something that the policy does not permit (``ground`` says
    which kind), so that nothing was computed and its value is unknown. ``covered`` is empty
    unless the verdict is valid; ``excluded`` names the elements inside it that were not
    signed. The certificate is not validated before `validate_signer`.
    """

    verdict: Literal["valid", "invalid", "refused by policy"]
    problem: Problem | None = None
    reason: str = ""
    covered: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    certificate: Certificate | None = None
    sent_along: tuple[Certificate, ...] = ()
    ground: PolicyGround | None = None


@dataclass(frozen=True, slots=True)
class _ReferencePlan:
    """The source of the octets of a reference, after all checks of the reference."""

    covered: str
    element: etree._Element | None
    part: bytes
    method: Transform
    omit: tuple[etree._Element, ...]


def verify_any_document(
    data: bytes, parts: Mapping[str, bytes], policy: SignaturePolicy, limits: WireLimits = DEFAULT_LIMITS
) -> VerificationReport:
    """Verify the one signature of the document `data`; see `verify_any_signature`."""
    try:
        root = parse_xml(data, limits)
    except GatewayError as refusal:
        return VerificationReport(
            "refused by policy", refusal.problem, _describe_refusal(refusal), ground="document"
        )
    return verify_any_signature(root, parts, policy)


def verify_any_signature(
    root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy
) -> VerificationReport:
    """Verify the one signature of a document; ``parts`` are the other objects of its references, by URI."""
    source = KeySource(None)
    named = {normalize_part_uri(uri): content for uri, content in parts.items()}
    try:
        structure = _read_permitted_signature(root, named, policy)
        source = read_key_source(structure.key_info, root)
        with map_policy_violation("algorithm"):
            check_public_key(structure.algorithm, source.key)
        plans = _plan_references(structure, root, named)
        _verify_digests(structure, plans)
        _verify_signed_info(structure, source)
    except PolicyViolationError as refusal:
        return VerificationReport(
            "refused by policy", refusal.problem, _describe_refusal(refusal), ground=refusal.ground
        )
    except GatewayError as refusal:
        if refusal.problem is errors.ALGORITHM_REFUSED:
            return VerificationReport(
                "refused by policy", refusal.problem, _describe_refusal(refusal), ground="algorithm"
            )
        return VerificationReport(
            "invalid", refusal.problem, _describe_refusal(refusal), certificate=source.certificate
        )
    left_out = (one for plan in plans for one in plan.omit if one is not structure.element)
    return VerificationReport(
        "valid",
        reason="" if source.certificate else _NOBODY_VOUCHES,
        covered=tuple(dict.fromkeys(plan.covered for plan in plans)),
        excluded=tuple(dict.fromkeys(build_xpath(one) for one in left_out)),
        certificate=source.certificate,
        sent_along=source.sent_along,
    )


def validate_signer(judgement: VerificationReport, trust: TrustStore, at: datetime) -> VerificationReport:
    """Return the report with the certificate of a valid signature also validated, as of the instant `at`."""
    if judgement.verdict != "valid":
        return judgement
    problem: Problem | None = errors.CERTIFICATE_UNTRUSTED
    reason = _NOBODY_VOUCHES
    if judgement.certificate is not None:
        store = trust.with_peers(judgement.sent_along)
        verdict = validate_path(judgement.certificate, at, CertificateUse.SIGNING, store, RevocationData())
        if verdict.status == "valid":
            return judgement
        problem, reason = verdict.problem or problem, verdict.reason
    return replace(judgement, verdict="invalid", problem=problem, reason=reason, covered=(), excluded=())


def _describe_refusal(refusal: GatewayError) -> str:
    return refusal.detail + (f", at {refusal.location}" if refusal.location else "")


def _read_permitted_signature(
    root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy
) -> SignatureStructure:
    found = list(root.iter(f"{{{DS}}}Signature"))
    if not found:
        raise_signature_error("no signature in the document", root, errors.SIGNATURE_MISSING)
    if len(found) > 1:
        raise_policy_violation(
            "several signatures", f"{len(found)} signatures; exactly one is required", found[1]
        )
    signature = found[0]
    check_signature_policy(signature, parts, policy)
    if signature.find(f"{{{DS}}}KeyInfo") is None:
        raise_policy_violation("key source", "the signature contains no key", signature)
    objects = sum(1 for _ in signature.iterchildren(f"{{{DS}}}Object"))
    if objects > _MOST_OBJECTS:
        raise_signature_error(f"more than {_MOST_OBJECTS} Objects", signature)
    structure = read_signature(signature, policy, objects)
    check_unique_ids(root, (reference.uri[1:] for reference in structure.references))
    return structure


def _plan_references(
    structure: SignatureStructure, root: etree._Element, parts: Mapping[str, bytes]
) -> list[_ReferencePlan]:
    return [_plan_reference(reference, root, structure, parts) for reference in structure.references]


def _plan_reference(
    reference: DigestReference,
    root: etree._Element,
    structure: SignatureStructure,
    parts: Mapping[str, bytes],
) -> _ReferencePlan:
    steps = list(reference.transforms)
    omit: tuple[etree._Element, ...] = ()
    if steps and steps[0].algorithm == ENVELOPED:
        omit = (structure.element,)
        steps.pop(0)
    if steps and steps[0].expression == EBMS2_EXPRESSION:
        omit = (*omit, *list_next_actor_headers(root))
        steps.pop(0)
    if len(steps) > 1 or any(step.algorithm not in CANONICAL_FORMS for step in steps):
        detail = f"the transforms of reference '{reference.uri[:120]}' are not permitted together"
        raise_policy_violation("transform", detail, structure.element)
    method = steps[0] if steps else Transform(C14N)
    if normalize_part_uri(reference.uri) in parts:
        return _plan_part(reference, parts[normalize_part_uri(reference.uri)], method, structure)
    target = root if reference.uri == "" else _find_named_element(reference.uri, root)
    within = {target, *target.iterancestors()}
    if any(one in within for one in omit):
        raise_signature_error(
            f"what reference '{reference.uri[:120]}' names is left out by its transforms", structure.element
        )
    inside = tuple(one for one in dict.fromkeys(omit) if target in one.iterancestors())
    # a same-document reference does not include comments (XML Signature §4.4.3.3)
    bare = _drop_comments(method)
    return _ReferencePlan("/" if target is root else build_xpath(target), target, b"", bare, inside)


def _find_named_element(uri: str, root: etree._Element) -> etree._Element:
    """Return the element that ``#identifier`` names.

    Raises a policy violation when the name is the value of an attribute that is no
    identifier.
    """
    try:
        return get_element_by_id(root, uri)
    except GatewayError:
        elsewhere = select_elements(_HOLDING, root, value=uri[1:])
        if elsewhere and uri[1:] not in list_ids(root):
            raise_policy_violation(
                "pointer",
                f"reference '{uri[:120]}' names an attribute that is not an identifier here",
                elsewhere[0],
            )
        raise


def _plan_part(
    reference: DigestReference, part: bytes, method: Transform, structure: SignatureStructure
) -> _ReferencePlan:
    if not reference.transforms:
        return _ReferencePlan(reference.uri, None, part, method, ())
    if (
        len(reference.transforms) > 1
        or method.algorithm in WITHOUT_COMMENTS
        or method != reference.transforms[0]
    ):
        detail = f"a part is signed as it is or in one canonical form, not as '{reference.uri[:120]}'"
        raise_policy_violation("transform", detail, structure.element)
    with map_policy_violation("document"):
        return _ReferencePlan(reference.uri, parse_xml(part), part, method, ())


def _verify_digests(structure: SignatureStructure, plans: list[_ReferencePlan]) -> None:
    known: dict[_ReferencePlan, bytes] = {}
    for reference, plan in zip(structure.references, plans, strict=True):
        if plan not in known:
            with _map_canonical_error(describe_reference(reference.uri), structure.element):
                known[plan] = _dereference_octets(plan)
        if not compare_digests(
            compute_digest(reference.digest_algorithm, known[plan]), reference.digest_value
        ):
            detail = f"the digest of {describe_reference(reference.uri)} is wrong"
            raise_signature_error(detail, structure.element)


def _verify_signed_info(structure: SignatureStructure, source: KeySource) -> None:
    method = structure.canonicalization
    with _map_canonical_error("SignedInfo", structure.element):
        # the strict reader has found no comments in it
        data = apply_canonicalization(structure.signed_info, _drop_comments(method))
    if not verify_signature_value(structure.algorithm, source.key, structure.value, data):
        raise_signature_error(WRONG_VALUE, structure.element)


def _drop_comments(method: Transform) -> Transform:
    return Transform(WITHOUT_COMMENTS.get(method.algorithm, method.algorithm), method.prefixes)


@contextmanager
def _map_canonical_error(what: str, element: etree._Element) -> Iterator[None]:
    try:
        yield
    except GatewayError as refusal:
        if refusal.problem is errors.XML_MALFORMED:
            raise_signature_error(f"{what} has no canonical form", element)
        raise


def _dereference_octets(plan: _ReferencePlan) -> bytes:
    if plan.element is None:
        return plan.part
    if plan.element.getparent() is None and plan.method.algorithm != EXCLUSIVE_C14N:
        return canonicalize_document(plan.element, plan.omit)
    if not plan.omit:
        return apply_canonicalization(plan.element, plan.method)
    tree = plan.element.getroottree()
    copy = deepcopy(tree.getroot())
    places = [tree.getelementpath(each) for each in (plan.element, *plan.omit)]
    target, *gone = [copy if place == "." else copy.find(place) for place in places]
    for each in gone:
        if each is not None:
            remove_element(each)
    if target is None:
        raise_signature_error("what is signed lies in what is left out", plan.element)
    return apply_canonicalization(target, plan.method)
