"""Verifies any XML signature of a file, for the command line and other tools.

Messages and documents are verified by the profile of their protocol. Only the reading of
other parties' trusted lists uses this module; it pins the certificate and requires the whole
document as coverage. `covered` names the elements that a valid signature covers; no other
element is attested.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final, Literal

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.pki import Certificate, CertificateUse, RevocationData, TrustStore, validate_path
from gateway.wire import C14N, DEFAULT_LIMITS, DS, WireLimits, build_xpath, canonicalize_document, parse_xml
from gateway.xmlsec.algorithms import (
    CANONICAL_FORMS,
    ENVELOPED_SIGNATURE,
    EXCLUSIVE_C14N,
    WITHOUT_COMMENTS,
    SignaturePolicy,
    check_public_key,
    verify_signature_value,
)
from gateway.xmlsec.ebms2_signature import list_next_actor_headers
from gateway.xmlsec.policy_check import (
    KeySource,
    PolicyGround,
    PolicyViolationError,
    check_signature_policy,
    map_policy_violation,
    normalize_part_uri,
    raise_policy_violation,
    read_key_source,
)
from gateway.xmlsec.signature_verifier import WRONG_VALUE_TEXT, describe_wrong_digest, has_digest
from gateway.xmlsec.strict_reader import raise_signature_error, remove_element, select_elements
from gateway.xmlsec.xml_signature import (
    EBMS2_EXPRESSION,
    DigestReference,
    ParsedSignature,
    Transform,
    apply_canonicalization,
    canonicalize_signed_part,
    check_unique_ids,
    describe_reference,
    get_element_by_id,
    list_ids,
    read_signature,
)

_ELEMENTS_WITH_VALUE: Final = etree.XPath("//*[@* = $value]")
_MAX_OBJECTS: Final = 20
_NO_CERTIFICATE_TEXT: Final = "the key stands in the signature itself, and no certificate says whose it is"


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The result of verifying one signature.

    ``invalid``: it does not match the content that it references, or is not well-formed as a signature.
    ``refused by policy``: it uses something that the policy does not permit (``policy_rule`` says
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
    extra_certificates: tuple[Certificate, ...] = ()
    policy_rule: PolicyGround | None = None


@dataclass(frozen=True, slots=True)
class _ReferencePlan:
    """The source of the octets of a reference, after all checks of the reference."""

    location: str
    element: etree._Element | None
    part_octets: bytes
    method: Transform
    omitted_elements: tuple[etree._Element, ...]


def verify_any_document(
    data: bytes, parts: Mapping[str, bytes], policy: SignaturePolicy, limits: WireLimits = DEFAULT_LIMITS
) -> VerificationReport:
    """Verify the one signature of the document `data`; see `verify_any_signature`."""
    try:
        root = parse_xml(data, limits)
    except GatewayError as refusal:
        errors.raise_resource_problem(refusal)
        return VerificationReport(
            "refused by policy", refusal.problem, _describe_refusal(refusal), policy_rule="document"
        )
    return verify_any_signature(root, parts, policy)


def verify_any_signature(
    root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy
) -> VerificationReport:
    """Verify the one signature of a document; ``parts`` are the other objects of its references, by URI."""
    key_source = KeySource(None)
    parts_by_uri = {normalize_part_uri(uri): content for uri, content in parts.items()}
    try:
        parsed = _read_permitted_signature(root, parts_by_uri, policy)
        key_source = read_key_source(parsed.key_info, root)
        with map_policy_violation("algorithm"):
            check_public_key(parsed.algorithm, key_source.key)
        plans = _plan_references(parsed, root, parts_by_uri)
        _verify_digests(parsed, plans)
        _verify_signed_info(parsed, key_source)
    except PolicyViolationError as refusal:
        return VerificationReport(
            "refused by policy", refusal.problem, _describe_refusal(refusal), policy_rule=refusal.policy_rule
        )
    except GatewayError as refusal:
        if refusal.problem is errors.ALGORITHM_REFUSED:
            return VerificationReport(
                "refused by policy", refusal.problem, _describe_refusal(refusal), policy_rule="algorithm"
            )
        return VerificationReport(
            "invalid", refusal.problem, _describe_refusal(refusal), certificate=key_source.certificate
        )
    excluded_elements = (
        element for plan in plans for element in plan.omitted_elements if element is not parsed.element
    )
    return VerificationReport(
        "valid",
        reason="" if key_source.certificate else _NO_CERTIFICATE_TEXT,
        covered=tuple(dict.fromkeys(plan.location for plan in plans)),
        excluded=tuple(dict.fromkeys(build_xpath(element) for element in excluded_elements)),
        certificate=key_source.certificate,
        extra_certificates=key_source.extra_certificates,
    )


def validate_signer(report: VerificationReport, trust: TrustStore, at: datetime) -> VerificationReport:
    """Return the report with the certificate of a valid signature also validated, as of the instant `at`."""
    if report.verdict != "valid":
        return report
    problem: Problem | None = errors.CERTIFICATE_UNTRUSTED
    reason = _NO_CERTIFICATE_TEXT
    if report.certificate is not None:
        store = trust.with_peers(report.extra_certificates)
        verdict = validate_path(report.certificate, at, CertificateUse.SIGNING, store, RevocationData())
        if verdict.status == "valid":
            return report
        problem, reason = verdict.problem or problem, verdict.reason
    return replace(report, verdict="invalid", problem=problem, reason=reason, covered=(), excluded=())


def _describe_refusal(refusal: GatewayError) -> str:
    return refusal.detail + (f", at {refusal.location}" if refusal.location else "")


def _read_permitted_signature(
    root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy
) -> ParsedSignature:
    """Return the one signature of a document as read; raise for what the `policy` does not permit."""
    signatures = list(root.iter(f"{{{DS}}}Signature"))
    if not signatures:
        raise_signature_error("no signature in the document", root, errors.SIGNATURE_MISSING)
    if len(signatures) > 1:
        raise_policy_violation(
            "several signatures", f"{len(signatures)} signatures; exactly one is required", signatures[1]
        )
    signature = signatures[0]
    check_signature_policy(signature, parts, policy)
    if signature.find(f"{{{DS}}}KeyInfo") is None:
        raise_policy_violation("key source", "the signature contains no key", signature)
    object_count = sum(1 for _ in signature.iterchildren(f"{{{DS}}}Object"))
    if object_count > _MAX_OBJECTS:
        raise_signature_error(f"more than {_MAX_OBJECTS} Objects", signature)
    parsed = read_signature(signature, policy, object_count)
    check_unique_ids(root, (reference.uri[1:] for reference in parsed.references))
    return parsed


def _plan_references(
    parsed: ParsedSignature, root: etree._Element, parts: Mapping[str, bytes]
) -> list[_ReferencePlan]:
    return [_plan_reference(reference, root, parsed, parts) for reference in parsed.references]


def _plan_reference(
    reference: DigestReference,
    root: etree._Element,
    parsed: ParsedSignature,
    parts: Mapping[str, bytes],
) -> _ReferencePlan:
    """Return which element or part a reference covers, its canonical form, and its omitted parts."""
    remaining_transforms = list(reference.transforms)
    omitted_elements: tuple[etree._Element, ...] = ()
    if remaining_transforms and remaining_transforms[0].algorithm == ENVELOPED_SIGNATURE:
        omitted_elements = (parsed.element,)
        remaining_transforms.pop(0)
    if remaining_transforms and remaining_transforms[0].expression == EBMS2_EXPRESSION:
        omitted_elements = (*omitted_elements, *list_next_actor_headers(root))
        remaining_transforms.pop(0)
    if len(remaining_transforms) > 1 or any(
        transform.algorithm not in CANONICAL_FORMS for transform in remaining_transforms
    ):
        detail = f"the transforms of reference '{reference.uri[:120]}' are not permitted together"
        raise_policy_violation("transform", detail, parsed.element)
    method = remaining_transforms[0] if remaining_transforms else Transform(C14N)
    if normalize_part_uri(reference.uri) in parts:
        return _plan_part(reference, parts[normalize_part_uri(reference.uri)], method, parsed)
    target = root if reference.uri == "" else _find_named_element(reference.uri, root)
    target_and_ancestors = {target, *target.iterancestors()}
    if any(element in target_and_ancestors for element in omitted_elements):
        raise_signature_error(
            f"the transforms of reference '{reference.uri[:120]}' leave out the element that it names",
            parsed.element,
        )
    omitted_below_target = tuple(
        element for element in dict.fromkeys(omitted_elements) if target in element.iterancestors()
    )
    # a same-document reference does not include comments (XML Signature §4.4.3.3)
    method_without_comments = _drop_comments(method)
    return _ReferencePlan(
        "/" if target is root else build_xpath(target),
        target,
        b"",
        method_without_comments,
        omitted_below_target,
    )


def _find_named_element(uri: str, root: etree._Element) -> etree._Element:
    """Return the element that ``#identifier`` names.

    Raises a policy violation when the name is the value of an attribute that is no
    identifier.
    """
    try:
        return get_element_by_id(root, uri)
    except GatewayError as refused:
        errors.raise_resource_problem(refused)
        elements_with_value = select_elements(_ELEMENTS_WITH_VALUE, root, value=uri[1:])
        if elements_with_value and uri[1:] not in list_ids(root):
            raise_policy_violation(
                "pointer",
                f"reference '{uri[:120]}' names an attribute that is not an identifier here",
                elements_with_value[0],
            )
        raise


def _plan_part(
    reference: DigestReference, part_octets: bytes, method: Transform, parsed: ParsedSignature
) -> _ReferencePlan:
    """Return the plan for a received part: its octets as they are, or parsed for one canonical form."""
    if not reference.transforms:
        return _ReferencePlan(reference.uri, None, part_octets, method, ())
    if (
        len(reference.transforms) > 1
        or method.algorithm in WITHOUT_COMMENTS
        or method != reference.transforms[0]
    ):
        detail = f"a part must be signed as it is or in one canonical form, not as '{reference.uri[:120]}'"
        raise_policy_violation("transform", detail, parsed.element)
    with map_policy_violation("document"):
        return _ReferencePlan(reference.uri, parse_xml(part_octets), part_octets, method, ())


def _verify_digests(parsed: ParsedSignature, plans: list[_ReferencePlan]) -> None:
    """Raise unless each reference has the digest of its plan; `plans` are in the order of the references."""
    octets_by_plan: dict[_ReferencePlan, bytes] = {}
    for reference, plan in zip(parsed.references, plans, strict=True):
        if plan not in octets_by_plan:
            reference_text = describe_reference(reference.uri)
            octets = canonicalize_signed_part(
                partial(_dereference_octets, plan), reference_text, parsed.element
            )
            octets_by_plan[plan] = octets
        if not has_digest(reference, octets_by_plan[plan]):
            raise_signature_error(describe_wrong_digest(reference, plan.part_octets or None), parsed.element)


def _verify_signed_info(parsed: ParsedSignature, key_source: KeySource) -> None:
    """Raise unless the signature value verifies over SignedInfo with the key of `key_source`."""
    # the strict reader has found no comments in it
    method = _drop_comments(parsed.canonicalization)
    canonical_signed_info = canonicalize_signed_part(
        lambda: apply_canonicalization(parsed.signed_info, method), "SignedInfo", parsed.element
    )
    if not verify_signature_value(parsed.algorithm, key_source.key, parsed.value, canonical_signed_info):
        raise_signature_error(WRONG_VALUE_TEXT, parsed.element)


def _drop_comments(method: Transform) -> Transform:
    return Transform(WITHOUT_COMMENTS.get(method.algorithm, method.algorithm), method.prefixes)


def _dereference_octets(plan: _ReferencePlan) -> bytes:
    """Return the octets that a plan covers: the part, or the canonical form without the omitted elements."""
    if plan.element is None:
        return plan.part_octets
    if plan.element.getparent() is None and plan.method.algorithm != EXCLUSIVE_C14N:
        return canonicalize_document(plan.element, plan.omitted_elements)
    if not plan.omitted_elements:
        return apply_canonicalization(plan.element, plan.method)
    tree = plan.element.getroottree()
    root_copy = deepcopy(tree.getroot())
    paths = [tree.getelementpath(element) for element in (plan.element, *plan.omitted_elements)]
    target_copy, *omitted_copies = [root_copy if path == "." else root_copy.find(path) for path in paths]
    for element in omitted_copies:
        if element is not None:
            remove_element(element)
    if target_copy is None:
        raise_signature_error(
            "a signed element lies in an element that the transforms leave out", plan.element
        )
    return apply_canonicalization(target_copy, plan.method)
