"""Checks what a policy permits in a signature of any profile, before anything is computed.

A refusal by policy does not evaluate the value of the signature.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final, Literal, NoReturn
from urllib.parse import unquote

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.wire import DS, build_xpath
from gateway.xmlsec.algorithms import (
    CANONICAL_FORMS,
    ENVELOPED,
    XPATH,
    SignaturePolicy,
    check_digest_algorithm,
    check_signature_algorithm,
)
from gateway.xmlsec.digest_references import EBMS2_EXPRESSION, read_transform
from gateway.xmlsec.strict_reader import raise_signature_error

__all__ = [
    "PolicyGround",
    "PolicyViolationError",
    "check_signature_policy",
    "map_policy_violation",
    "normalize_part_uri",
    "raise_policy_violation",
]

PolicyGround = Literal[
    "document", "several signatures", "algorithm", "transform", "external reference", "pointer", "key source"
]

_SIGNED_INFO: Final = f"{{{DS}}}SignedInfo"
_TRANSFORMS: Final = CANONICAL_FORMS | {ENVELOPED, XPATH}
_IDENTIFIER: Final = re.compile(r"#[^\W\d][\w.\-]*")


class PolicyViolationError(GatewayError):
    """A refusal by policy; `ground` names the rule."""

    def __init__(self, ground: PolicyGround, detail: str, location: str, problem: Problem) -> None:
        super().__init__(problem, detail, location)
        self.ground: PolicyGround = ground


def raise_policy_violation(
    ground: PolicyGround, detail: str, element: etree._Element, problem: Problem = errors.ALGORITHM_REFUSED
) -> NoReturn:
    """Raise a refusal by policy with the XPath of the element."""
    raise PolicyViolationError(ground, detail, build_xpath(element), problem)


@contextmanager
def map_policy_violation(ground: PolicyGround) -> Iterator[None]:
    """Convert a GatewayError raised inside into a refusal by policy on this ground."""
    try:
        yield
    except PolicyViolationError:
        raise
    except GatewayError as refusal:
        raise PolicyViolationError(
            ground, refusal.detail, refusal.location, errors.ALGORITHM_REFUSED
        ) from None


def normalize_part_uri(uri: str) -> str:
    """Return the URI of a part for comparison: in a cid: URI the Content-ID is encoded (RFC 2392)."""
    return "cid:" + unquote(uri[4:]) if uri.startswith("cid:") else uri


def check_signature_policy(
    signature: etree._Element, parts: Collection[str], policy: SignaturePolicy
) -> None:
    """Raise for algorithms, transforms and references that the policy does not name.

    `parts` are the names of the objects received with the document (see
    `normalize_part_uri`). A signature without SignedInfo passes: its form is not checked
    here.
    """
    for signed_info in signature.iterchildren(_SIGNED_INFO):
        for method in signed_info.iterchildren(f"{{{DS}}}CanonicalizationMethod"):
            if method.get("Algorithm") not in CANONICAL_FORMS:
                raise_policy_violation(
                    "algorithm", f"SignedInfo in '{_format_algorithm(method)}' is not permitted", method
                )
        for method in signed_info.iterchildren(f"{{{DS}}}SignatureMethod"):
            with map_policy_violation("algorithm"):
                check_signature_algorithm(method.get("Algorithm", ""), policy)
        for reference in signed_info.iterchildren(f"{{{DS}}}Reference"):
            _check_reference(reference, parts, policy)


def _check_reference(reference: etree._Element, parts: Collection[str], policy: SignaturePolicy) -> None:
    for method in reference.iterchildren(f"{{{DS}}}DigestMethod"):
        with map_policy_violation("algorithm"):
            check_digest_algorithm(method.get("Algorithm", ""), policy)
    _check_reference_uri(reference, parts)
    for transform in reference.iterfind(f"{{{DS}}}Transforms/{{{DS}}}Transform"):
        if transform.get("Algorithm") not in _TRANSFORMS:
            raise_policy_violation(
                "transform", f"transform '{_format_algorithm(transform)}' is not permitted", transform
            )
        if transform.get("Algorithm") == XPATH:
            with map_policy_violation("transform"):
                if read_transform(transform).expression != EBMS2_EXPRESSION:
                    raise_signature_error("an XPath expression other than the one of ebMS 2.0", transform)


def _check_reference_uri(reference: etree._Element, parts: Collection[str]) -> None:
    uri = reference.get("URI")
    if uri is None:
        raise_policy_violation("external reference", "a reference without a URI is not accepted", reference)
    if uri == "" or normalize_part_uri(uri) in parts or _IDENTIFIER.fullmatch(uri):
        return
    if uri.startswith("cid:"):
        raise_signature_error(f"the signed part '{uri[:120]}' is not here", reference, errors.PART_MISSING)
    if uri.startswith("#"):
        raise_policy_violation("pointer", f"reference '{uri[:120]}' is not #identifier", reference)
    raise_policy_violation("external reference", f"'{uri[:120]}' is not fetched", reference)


def _format_algorithm(element: etree._Element) -> str:
    return element.get("Algorithm", "")[:120]
