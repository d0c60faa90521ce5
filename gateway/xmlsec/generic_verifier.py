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
    ENVELOPED,
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
from gateway.xmlsec.signature_verifier import WRONG_VALUE, describe_wrong_digest, has_digest
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

_HOLDING: Final = etree.XPath("//*[@* = $value]")
_MOST_OBJECTS: Final = 20
_NOBODY_VOUCHES: Final = "the key stands in the signature itself, and no certificate says whose it is"


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
        errors.raise_resource_problem(refusal)
        return VerificationReport(
            "refused by policy", refusal.problem, _describe_refusal(refusal), policy_rule="document"
        )
    return verify_any_signature(root, parts, policy)


def verify_any_signature(
    root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy
) -> VerificationReport:
    """Verify the one signature of a document; ``parts`` are the other objects of its references, by URI."""
    source = KeySource(None)
    parts_by_uri = {normalize_part_uri(uri): content for uri, content in parts.items()}
    try:
        parsed = _read_permitted_signature(root, parts_by_uri, policy)
        source = read_key_source(parsed.key_info, root)
        with map_policy_violation("algorithm"):
            check_public_key(parsed.algorithm, source.key)
        plans = _plan_references(parsed, root, parts_by_uri)
        _verify_digests(parsed, plans)
        _verify_signed_info(parsed, source)
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
            "invalid", refusal.problem, _describe_refusal(refusal), certificate=source.certificate
        )
    left_out = (element for plan in plans for element in plan.omit if element is not parsed.element)
    return VerificationReport(
        "valid",
        reason="" if source.certificate else _NOBODY_VOUCHES,
        covered=tuple(dict.fromkeys(plan.covered for plan in plans)),
        excluded=tuple(dict.fromkeys(build_xpath(element) for element in left_out)),
        certificate=source.certificate,
        extra_certificates=source.extra_certificates,
    )


def validate_signer(judgement: VerificationReport, trust: TrustStore, at: datetime) -> VerificationReport:
    """Return the report with the certificate of a valid signature also validated, as of the instant `at`."""
    if judgement.verdict != "valid":
        return judgement
    problem: Problem | None = errors.CERTIFICATE_UNTRUSTED
    reason = _NOBODY_VOUCHES
    if judgement.certificate is not None:
        store = trust.with_peers(judgement.extra_certificates)
        verdict = validate_path(judgement.certificate, at, CertificateUse.SIGNING, store, RevocationData())
        if verdict.status == "valid":
            return judgement
        problem, reason = verdict.problem or problem, verdict.reason
    return replace(judgement, verdict="invalid", problem=problem, reason=reason, covered=(), excluded=())


def _describe_refusal(refusal: GatewayError) -> str:
    return refusal.detail + (f", at {refusal.location}" if refusal.location else "")


def _read_permitted_signature(
    root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy
) -> ParsedSignature:
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
    objects = sum(1 for _ in signature.iterchildren(f"{{{DS}}}Object"))
    if objects > _MOST_OBJECTS:
        raise_signature_error(f"more than {_MOST_OBJECTS} Objects", signature)
    parsed = read_signature(signature, policy, objects)
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
    steps = list(reference.transforms)
    omit: tuple[etree._Element, ...] = ()
    if steps and steps[0].algorithm == ENVELOPED:
        omit = (parsed.element,)
        steps.pop(0)
    if steps and steps[0].expression == EBMS2_EXPRESSION:
        omit = (*omit, *list_next_actor_headers(root))
        steps.pop(0)
    if len(steps) > 1 or any(step.algorithm not in CANONICAL_FORMS for step in steps):
        detail = f"the transforms of reference '{reference.uri[:120]}' are not permitted together"
        raise_policy_violation("transform", detail, parsed.element)
    method = steps[0] if steps else Transform(C14N)
    if normalize_part_uri(reference.uri) in parts:
        return _plan_part(reference, parts[normalize_part_uri(reference.uri)], method, parsed)
    target = root if reference.uri == "" else _find_named_element(reference.uri, root)
    within = {target, *target.iterancestors()}
    if any(element in within for element in omit):
        raise_signature_error(
            f"what reference '{reference.uri[:120]}' names is left out by its transforms", parsed.element
        )
    omitted_below_target = tuple(
        element for element in dict.fromkeys(omit) if target in element.iterancestors()
    )
    # a same-document reference does not include comments (XML Signature §4.4.3.3)
    bare = _drop_comments(method)
    return _ReferencePlan(
        "/" if target is root else build_xpath(target), target, b"", bare, omitted_below_target
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
        elsewhere = select_elements(_HOLDING, root, value=uri[1:])
        if elsewhere and uri[1:] not in list_ids(root):
            raise_policy_violation(
                "pointer",
                f"reference '{uri[:120]}' names an attribute that is not an identifier here",
                elsewhere[0],
            )
        raise


def _plan_part(
    reference: DigestReference, part: bytes, method: Transform, parsed: ParsedSignature
) -> _ReferencePlan:
    if not reference.transforms:
        return _ReferencePlan(reference.uri, None, part, method, ())
    if (
        len(reference.transforms) > 1
        or method.algorithm in WITHOUT_COMMENTS
        or method != reference.transforms[0]
    ):
        detail = f"a part is signed as it is or in one canonical form, not as '{reference.uri[:120]}'"
        raise_policy_violation("transform", detail, parsed.element)
    with map_policy_violation("document"):
        return _ReferencePlan(reference.uri, parse_xml(part), part, method, ())


def _verify_digests(parsed: ParsedSignature, plans: list[_ReferencePlan]) -> None:
    octets_by_plan: dict[_ReferencePlan, bytes] = {}
    for reference, plan in zip(parsed.references, plans, strict=True):
        if plan not in octets_by_plan:
            signed = describe_reference(reference.uri)
            octets = canonicalize_signed_part(partial(_dereference_octets, plan), signed, parsed.element)
            octets_by_plan[plan] = octets
        if not has_digest(reference, octets_by_plan[plan]):
            raise_signature_error(describe_wrong_digest(reference, plan.part or None), parsed.element)


def _verify_signed_info(parsed: ParsedSignature, source: KeySource) -> None:
    # the strict reader has found no comments in it
    method = _drop_comments(parsed.canonicalization)
    data = canonicalize_signed_part(
        lambda: apply_canonicalization(parsed.signed_info, method), "SignedInfo", parsed.element
    )
    if not verify_signature_value(parsed.algorithm, source.key, parsed.value, data):
        raise_signature_error(WRONG_VALUE, parsed.element)


def _drop_comments(method: Transform) -> Transform:
    return Transform(WITHOUT_COMMENTS.get(method.algorithm, method.algorithm), method.prefixes)


def _dereference_octets(plan: _ReferencePlan) -> bytes:
    if plan.element is None:
        return plan.part
    if plan.element.getparent() is None and plan.method.algorithm != EXCLUSIVE_C14N:
        return canonicalize_document(plan.element, plan.omit)
    if not plan.omit:
        return apply_canonicalization(plan.element, plan.method)
    tree = plan.element.getroottree()
    copy = deepcopy(tree.getroot())
    paths = [tree.getelementpath(each) for each in (plan.element, *plan.omit)]
    target, *omitted = [copy if path == "." else copy.find(path) for path in paths]
    for each in omitted:
        if each is not None:
            remove_element(each)
    if target is None:
        raise_signature_error("what is signed lies in what is left out", plan.element)
    return apply_canonicalization(target, plan.method)
