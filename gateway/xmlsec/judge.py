"""Judges any XML signature, for people and tools that hold a file and want to know.

Nothing in the gateway acts on such a judgement but the reading of trusted lists of others,
which pins the certificate and asks for the whole document: messages and documents go through
the profile that their protocol names.  See what is signed: `covered` says which elements a
good signature stands for, and nothing is said of any other.
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
from gateway.pki.certificates import Certificate
from gateway.pki.revocation import Revocations
from gateway.pki.trust import TrustStore, Use, validate_path
from gateway.wire.namespaces import DS
from gateway.wire.prescan import DEFAULT_LIMITS, Limits
from gateway.wire.xml import canonicalize_document, parse_xml, xpath_of
from gateway.xmlsec.algorithms import (
    C14N,
    CANONICAL_FORMS,
    ENVELOPED,
    EXCLUSIVE_C14N,
    WITHOUT_COMMENTS,
    SignaturePolicy,
    check_key,
    digest,
    same_digest,
    verify_value,
)
from gateway.xmlsec.ebms2 import headers_for_next
from gateway.xmlsec.ids import check_ids, element_with_id, ids_in
from gateway.xmlsec.keysource import KeySource, find_key
from gateway.xmlsec.permitted import ForbiddenError, Ground, check_permitted, forbid, forbidding, part_name
from gateway.xmlsec.references import EBMS2_EXPRESSION, DigestReference, Transform
from gateway.xmlsec.signature import Structure, canonical, read_signature
from gateway.xmlsec.strict import refuse, select, without

__all__ = ["Judgement", "judge_document", "judge_signature", "judge_trust"]

_HOLDING: Final = etree.XPath("//*[@* = $value]")
_MOST_OBJECTS: Final = 20
_NOBODY_VOUCHES: Final = "the key stands in the signature itself, and no certificate says whose it is"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said of a signature.

    ``invalid``: it does not fit what it names, or has not the form of a signature.
    ``refused by policy``: it uses what the policy does not permit (``ground`` says which
    kind of thing), so that nothing was computed and nothing is said of its value.
    ``covered`` is empty unless the verdict is valid; ``excluded`` names what lies inside it
    and was not signed.  The certificate is not judged before `judge_trust`.
    """

    verdict: Literal["valid", "invalid", "refused by policy"]
    problem: Problem | None = None
    reason: str = ""
    covered: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    certificate: Certificate | None = None
    sent_along: tuple[Certificate, ...] = ()
    ground: Ground | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the octets of a reference come from, once everything about it was allowed."""

    covered: str
    element: etree._Element | None
    part: bytes
    method: Transform
    omit: tuple[etree._Element, ...]


def judge_document(
    data: bytes, parts: Mapping[str, bytes], policy: SignaturePolicy, limits: Limits = DEFAULT_LIMITS
) -> Judgement:
    """Judge the one signature of the document `data`; see `judge_signature`."""
    try:
        root = parse_xml(data, limits)
    except GatewayError as refusal:
        return Judgement("refused by policy", refusal.problem, _words(refusal), ground="document")
    return judge_signature(root, parts, policy)


def judge_signature(root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy) -> Judgement:
    """Judge the one signature of a document; ``parts`` holds what else its references name, by URI."""
    source = KeySource(None)
    named = {part_name(uri): content for uri, content in parts.items()}
    try:
        structure = _read(root, named, policy)
        source = find_key(structure.key_info, root)
        with forbidding("algorithm"):
            check_key(structure.algorithm, source.key)
        plans = _plans(structure, root, named)
        _check_digests(structure, plans)
        _check_value(structure, source)
    except ForbiddenError as refusal:
        return Judgement("refused by policy", refusal.problem, _words(refusal), ground=refusal.ground)
    except GatewayError as refusal:
        if refusal.problem is errors.ALGORITHM_REFUSED:
            return Judgement("refused by policy", refusal.problem, _words(refusal), ground="algorithm")
        return Judgement("invalid", refusal.problem, _words(refusal), certificate=source.certificate)
    left_out = (one for plan in plans for one in plan.omit if one is not structure.element)
    return Judgement(
        "valid",
        reason="" if source.certificate else _NOBODY_VOUCHES,
        covered=tuple(dict.fromkeys(plan.covered for plan in plans)),
        excluded=tuple(dict.fromkeys(xpath_of(one) for one in left_out)),
        certificate=source.certificate,
        sent_along=source.sent_along,
    )


def judge_trust(judgement: Judgement, trust: TrustStore, at: datetime) -> Judgement:
    """Return the judgement with the certificate of a good signature judged too, as of a moment."""
    if judgement.verdict != "valid":
        return judgement
    problem: Problem | None = errors.CERTIFICATE_UNTRUSTED
    reason = _NOBODY_VOUCHES
    if judgement.certificate is not None:
        store = trust.with_peers(judgement.sent_along)
        verdict = validate_path(judgement.certificate, at, Use.SIGNING, store, Revocations())
        if verdict.status == "valid":
            return judgement
        problem, reason = verdict.problem or problem, verdict.reason
    return replace(judgement, verdict="invalid", problem=problem, reason=reason, covered=(), excluded=())


def _words(refusal: GatewayError) -> str:
    return refusal.detail + (f", at {refusal.location}" if refusal.location else "")


def _read(root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy) -> Structure:
    found = list(root.iter(f"{{{DS}}}Signature"))
    if not found:
        refuse("no signature in the document", root, errors.SIGNATURE_MISSING)
    if len(found) > 1:
        forbid("several signatures", f"{len(found)} signatures where one is judged", found[1])
    signature = found[0]
    check_permitted(signature, parts, policy)
    if signature.find(f"{{{DS}}}KeyInfo") is None:
        forbid("key source", "the signature brings no key", signature)
    objects = sum(1 for _ in signature.iterchildren(f"{{{DS}}}Object"))
    if objects > _MOST_OBJECTS:
        refuse(f"more than {_MOST_OBJECTS} Objects", signature)
    structure = read_signature(signature, policy, objects)
    check_ids(root, (reference.uri[1:] for reference in structure.references))
    return structure


def _plans(structure: Structure, root: etree._Element, parts: Mapping[str, bytes]) -> list[_Plan]:
    return [_plan(reference, root, structure, parts) for reference in structure.references]


def _plan(
    reference: DigestReference, root: etree._Element, structure: Structure, parts: Mapping[str, bytes]
) -> _Plan:
    steps = list(reference.transforms)
    omit: tuple[etree._Element, ...] = ()
    if steps and steps[0].algorithm == ENVELOPED:
        omit = (structure.element,)
        steps.pop(0)
    if steps and steps[0].expression == EBMS2_EXPRESSION:
        omit = (*omit, *headers_for_next(root))
        steps.pop(0)
    if len(steps) > 1 or any(step.algorithm not in CANONICAL_FORMS for step in steps):
        detail = f"the transforms of reference '{reference.uri[:120]}' are not permitted together"
        forbid("transform", detail, structure.element)
    method = steps[0] if steps else Transform(C14N)
    if part_name(reference.uri) in parts:
        return _part_plan(reference, parts[part_name(reference.uri)], method, structure)
    target = root if reference.uri == "" else _named(reference.uri, root)
    within = {target, *target.iterancestors()}
    if any(one in within for one in omit):
        refuse(
            f"what reference '{reference.uri[:120]}' names is left out by its transforms", structure.element
        )
    inside = tuple(one for one in dict.fromkeys(omit) if target in one.iterancestors())
    # comments are no part of what a same-document reference names (XML Signature §4.4.3.3)
    bare = _without_comments(method)
    return _Plan("/" if target is root else xpath_of(target), target, b"", bare, inside)


def _named(uri: str, root: etree._Element) -> etree._Element:
    """Return the element that ``#identifier`` names; a name in another attribute is refused by policy."""
    try:
        return element_with_id(root, uri)
    except GatewayError:
        elsewhere = select(_HOLDING, root, value=uri[1:])
        if elsewhere and uri[1:] not in ids_in(root):
            forbid(
                "pointer",
                f"reference '{uri[:120]}' names an attribute that is no identifier here",
                elsewhere[0],
            )
        raise


def _part_plan(reference: DigestReference, part: bytes, method: Transform, structure: Structure) -> _Plan:
    if not reference.transforms:
        return _Plan(reference.uri, None, part, method, ())
    if (
        len(reference.transforms) > 1
        or method.algorithm in WITHOUT_COMMENTS
        or method != reference.transforms[0]
    ):
        detail = f"a part is signed as it is or in one canonical form, not as '{reference.uri[:120]}'"
        forbid("transform", detail, structure.element)
    with forbidding("document"):
        return _Plan(reference.uri, parse_xml(part), part, method, ())


def _check_digests(structure: Structure, plans: list[_Plan]) -> None:
    known: dict[_Plan, bytes] = {}
    for reference, plan in zip(structure.references, plans, strict=True):
        if plan not in known:
            with _canonicalising(f"reference '{reference.uri[:120]}'", structure.element):
                known[plan] = _octets(plan)
        if not same_digest(digest(reference.digest_algorithm, known[plan]), reference.digest_value):
            refuse(f"the digest of reference '{reference.uri[:120]}' is wrong", structure.element)


def _check_value(structure: Structure, source: KeySource) -> None:
    method = structure.canonicalization
    with _canonicalising("SignedInfo", structure.element):
        # it holds no comments: the strict reader found none
        data = canonical(structure.signed_info, _without_comments(method))
    if not verify_value(structure.algorithm, source.key, structure.value, data):
        refuse("the signature value is wrong", structure.element)


def _without_comments(method: Transform) -> Transform:
    return Transform(WITHOUT_COMMENTS.get(method.algorithm, method.algorithm), method.prefixes)


@contextmanager
def _canonicalising(what: str, element: etree._Element) -> Iterator[None]:
    try:
        yield
    except GatewayError as refusal:
        if refusal.problem is errors.XML_MALFORMED:
            refuse(f"{what} has no canonical form", element)
        raise


def _octets(plan: _Plan) -> bytes:
    if plan.element is None:
        return plan.part
    if plan.element.getparent() is None and plan.method.algorithm != EXCLUSIVE_C14N:
        return canonicalize_document(plan.element, plan.omit)
    if not plan.omit:
        return canonical(plan.element, plan.method)
    tree = plan.element.getroottree()
    copy = deepcopy(tree.getroot())
    places = [tree.getelementpath(each) for each in (plan.element, *plan.omit)]
    target, *gone = [copy if place == "." else copy.find(place) for place in places]
    for each in gone:
        if each is not None:
            without(each)
    if target is None:
        refuse("what is signed lies in what is left out", plan.element)
    return canonical(target, plan.method)
