"""Judges any XML signature, for people and tools that hold a file and want to know.

Nothing in the gateway acts on such a judgement: messages and documents go through the
profile that their protocol names.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Final, Literal

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.pki.certificates import Certificate
from gateway.wire.namespaces import BASE64_ENCODING, DS, WSSE, WSU, X509_TOKEN
from gateway.wire.xml import canonicalize_document, parse_xml, xpath_of
from gateway.xmlsec.algorithms import (
    C14N,
    C14N_11,
    ENVELOPED,
    EXCLUSIVE_C14N,
    SignaturePolicy,
    check_key,
    digest,
    same_digest,
    verify_value,
)
from gateway.xmlsec.ebms2 import headers_for_next
from gateway.xmlsec.ids import check_ids, element_with_id
from gateway.xmlsec.keyinfo import decode_certificate, read_x509_key_info
from gateway.xmlsec.references import EBMS2_EXPRESSION, DigestReference, Transform
from gateway.xmlsec.signature import Structure, canonical, read_signature
from gateway.xmlsec.strict import only_child, refuse, without

__all__ = ["Judgement", "judge_signature"]

_METHODS: Final = frozenset({C14N, C14N_11, EXCLUSIVE_C14N})
_MOST_OBJECTS: Final = 20


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said of a signature; the certificate is not judged.

    ``invalid``: digests or value do not match.  ``refused``: it uses what the policy or this
    reader does not allow, so that nothing is said of its value.
    """

    verdict: Literal["valid", "invalid", "refused"]
    problem: Problem | None = None
    reason: str = ""
    covered: tuple[str, ...] = ()
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the octets of a reference come from, once everything about it was allowed."""

    covered: str
    element: etree._Element | None
    part: bytes
    method: Transform
    omit: tuple[etree._Element, ...]


def judge_signature(root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy) -> Judgement:
    """Judge the one signature of a document; ``parts`` holds what its other references name, by URI."""
    try:
        structure, certificate, plans = _read(root, parts, policy)
        octets = [_octets(plan) for plan in plans]
    except GatewayError as refusal:
        return Judgement("refused", refusal.problem, refusal.detail)
    covered = tuple(plan.covered for plan in plans)
    for reference, data in zip(structure.references, octets, strict=True):
        if not same_digest(digest(reference.digest_algorithm, data), reference.digest_value):
            reason = f"the digest of reference '{reference.uri[:120]}' is wrong"
            return Judgement("invalid", errors.SIGNATURE_INVALID, reason, (), certificate)
    data = canonical(structure.signed_info, structure.canonicalization)
    if not verify_value(structure.algorithm, certificate.public_key, structure.value, data):
        reason = "the signature value is wrong"
        return Judgement("invalid", errors.SIGNATURE_INVALID, reason, (), certificate)
    return Judgement("valid", covered=covered, certificate=certificate)


def _read(
    root: etree._Element, parts: Mapping[str, bytes], policy: SignaturePolicy
) -> tuple[Structure, Certificate, list[_Plan]]:
    found = list(root.iter(f"{{{DS}}}Signature"))
    if len(found) != 1:
        problem = errors.SIGNATURE_INVALID if found else errors.SIGNATURE_MISSING
        refuse(f"{len(found)} signatures where one is judged", root, problem)
    objects = sum(1 for _ in found[0].iterchildren(f"{{{DS}}}Object"))
    if objects > _MOST_OBJECTS:
        refuse(f"more than {_MOST_OBJECTS} Objects", found[0])
    structure = read_signature(found[0], policy, objects)
    certificate = _certificate_of(structure, root)
    check_key(structure.algorithm, certificate.public_key)
    check_ids(root, (reference.uri[1:] for reference in structure.references))
    return structure, certificate, [_plan(each, root, structure, parts) for each in structure.references]


def _certificate_of(structure: Structure, root: etree._Element) -> Certificate:
    if structure.key_info.find(f"{{{WSSE}}}SecurityTokenReference") is None:
        return read_x509_key_info(structure.key_info)
    token_reference = only_child(structure.key_info, f"{{{WSSE}}}SecurityTokenReference")
    uri = only_child(token_reference, f"{{{WSSE}}}Reference").get("URI", "")
    tokens = [
        each for each in root.iter(f"{{{WSSE}}}BinarySecurityToken") if f"#{each.get(f'{{{WSU}}}Id')}" == uri
    ]
    if len(tokens) != 1 or tokens[0].get("ValueType") != X509_TOKEN:
        refuse("the SecurityTokenReference names no X.509 token", token_reference)
    if tokens[0].get("EncodingType") != BASE64_ENCODING:
        refuse("the token is not in base64", tokens[0])
    return decode_certificate(tokens[0])


def _plan(
    reference: DigestReference, root: etree._Element, structure: Structure, parts: Mapping[str, bytes]
) -> _Plan:
    steps = list(reference.transforms)
    omit: tuple[etree._Element, ...] = ()
    if steps and steps[0].algorithm == ENVELOPED:
        omit = (structure.element,)
        steps.pop(0)
    if steps and steps[0].expression == EBMS2_EXPRESSION and omit:
        omit = (*omit, *headers_for_next(root))
        steps.pop(0)
    if len(steps) > 1 or any(step.algorithm not in _METHODS for step in steps):
        refuse(
            f"the transforms of reference '{reference.uri[:120]}' are not known together", structure.element
        )
    method = steps[0] if steps else Transform(C14N)
    if reference.uri in parts and not omit:
        part = parts[reference.uri]
        return _Plan(reference.uri, parse_xml(part) if steps else None, part, method, ())
    target = root if reference.uri == "" else element_with_id(root, reference.uri)
    covered = "/" if target is root else xpath_of(target)
    return _Plan(covered, target, b"", method, omit)


def _octets(plan: _Plan) -> bytes:
    if plan.element is None:
        return plan.part
    whole = plan.element.getparent() is None
    if whole and plan.method.algorithm != EXCLUSIVE_C14N:
        return canonicalize_document(plan.element, plan.omit)
    if not plan.omit:
        return canonical(plan.element, plan.method)
    tree = deepcopy(plan.element.getroottree()).getroot()
    places = [plan.element.getroottree().getelementpath(each) for each in (plan.element, *plan.omit)]
    target, *gone = [tree if place == "." else tree.find(place) for place in places]
    for each in gone:
        if each is not None:
            without(each)
    if target is None:
        refuse("what is signed lies in what is left out", plan.element)
    return canonical(target, plan.method)
