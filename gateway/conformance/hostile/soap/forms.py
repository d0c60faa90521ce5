"""Canonical forms, transforms, algorithms and values in the signature of a call (SIG-18 to SIG-35)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    Alteration,
    added,
    at,
    attribute_set,
    comment_in,
    doubled,
    every,
    inserted,
    removed,
    replaced_text,
    text_set,
)
from gateway.conformance.hostile.calls import (
    BODY,
    FIRST_REFERENCE,
    HEADER,
    TIMESTAMP,
    TOKEN,
    by_agency,
    on_its_way,
)
from gateway.conformance.hostile.case import LAWFUL, Case
from gateway.wire.namespaces import C14N, C14N_EXCLUSIVE, DS, DSIG_MORE

if TYPE_CHECKING:
    pass

__all__ = ["CASES"]

_BSP: Final = "WS-I Basic Security Profile 1.1"

_PLAIN: Final = "CVE-2022-34169; signxml 5.2 passes over what it does not know"


def _all_transforms(algorithm: str) -> Alteration:
    def change(root: etree._Element) -> None:
        for transform in every(root, "//ds:Transform"):
            transform.set("Algorithm", algorithm)

    return change


def _prefixes(count: int) -> Alteration:
    return added(
        f"{FIRST_REFERENCE}/ds:Transforms/ds:Transform",
        f'<ec:InclusiveNamespaces PrefixList="{"a " * count}"/>',
    )


_RECEIPT_NUMBER: Final = f"{BODY}/*/*[local-name()='ReceiptNumber']"

_METHODS: Final = (
    on_its_way(
        "SIG-18.call-message-id",
        "a comment in the middle of MessageID",
        comment_in(f"{HEADER}/wsa:MessageID"),
        "GW107",
        "CVE-2017-11427 and others",
        naive=True,
    ),
    on_its_way(
        "SIG-18.call-action",
        "a comment in the middle of Action",
        comment_in(f"{HEADER}/wsa:Action"),
        "GW107",
        "CVE-2017-11427 and others",
        naive=True,
    ),
    on_its_way(
        "SIG-18.call-timestamp",
        "a comment in Expires",
        comment_in(f"{TIMESTAMP}/wsu:Expires"),
        "GW202",
        "CVE-2017-11427 and others",
        naive=True,
    ),
    on_its_way(
        "SIG-18.call-digest",
        "a comment in a digest value",
        comment_in(f"{FIRST_REFERENCE}/ds:DigestValue"),
        "GW202",
        "CVE-2017-11427 and others",
        naive=True,
    ),
    on_its_way(
        "SIG-18.call-body",
        "a comment in a value of the Body: it is the whole value that counts",
        comment_in(_RECEIPT_NUMBER),
        LAWFUL,
        "CVE-2017-11427 and others: what is read must be what was signed",
        naive=True,
    ),
    by_agency(
        "SIG-19.call-with-comments",
        "SignedInfo canonicalised with comments",
        attribute_set("//ds:CanonicalizationMethod", "Algorithm", f"{C14N_EXCLUSIVE}WithComments"),
        "GW204",
        "CVE-2025-29775",
        naive=True,
    ),
    by_agency(
        "SIG-19.call-parts-with-comments",
        "the parts canonicalised with comments",
        _all_transforms(f"{C14N_EXCLUSIVE}WithComments"),
        "GW202",
        "CVE-2025-29775",
        naive=True,
    ),
    by_agency(
        "SIG-19.call-inclusive",
        "SignedInfo in inclusive C14N",
        attribute_set("//ds:CanonicalizationMethod", "Algorithm", C14N),
        "GW204",
        _BSP,
        naive=True,
    ),
    on_its_way(
        "SIG-20.call",
        "a relative namespace name in the Body",
        lambda root: at(root, BODY)[0].append(etree.fromstring('<a xmlns="relative/name"/>')),
        "GW202",
        "The Fragile Lock, 2025",
    ),
    *(
        by_agency(
            f"SIG-21.call-{name}",
            title,
            change,
            "GW102" if name == "prefixes" else "GW202",
            _PLAIN,
            naive=True,
        )
        for name, title, change in (
            ("inclusive", "the parts in inclusive C14N", _all_transforms(C14N)),
            (
                "token-reference",
                "the STR-Transform for every part",
                _all_transforms(
                    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform"
                ),
            ),
            ("enveloped", "enveloped-signature for every part", _all_transforms(f"{DS}enveloped-signature")),
            (
                "unknown",
                "a transform that there is not, before the canonical form",
                inserted(
                    f"{FIRST_REFERENCE}/ds:Transforms", '<ds:Transform Algorithm="urn:example:transform"/>'
                ),
            ),
            (
                "xslt",
                "an XSLT transform before the canonical form",
                inserted(
                    f"{FIRST_REFERENCE}/ds:Transforms",
                    '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"><x:stylesheet/></ds:Transform>',
                ),
            ),
            ("twice", "the canonical form twice", doubled(f"{FIRST_REFERENCE}/ds:Transforms/ds:Transform")),
            ("none", "no transforms for the Body", removed(f"{FIRST_REFERENCE}/ds:Transforms")),
            ("prefixes", "a list of forty prefixes", _prefixes(40)),
        )
    ),
    by_agency(
        "SIG-26.call-sha1",
        "SHA-1 as digest",
        attribute_set(f"{FIRST_REFERENCE}/ds:DigestMethod", "Algorithm", f"{DS}sha1"),
        "GW204",
        "RFC 6931",
    ),
    by_agency(
        "SIG-26.call-rsa-sha1",
        "rsa-sha1 as signature",
        attribute_set("//ds:SignatureMethod", "Algorithm", f"{DS}rsa-sha1"),
        "GW204",
        "RFC 6931",
    ),
    by_agency(
        "SIG-24.call-hmac",
        "an HMAC as signature",
        attribute_set("//ds:SignatureMethod", "Algorithm", f"{DSIG_MORE}hmac-sha256"),
        "GW204",
        "CVE-2025-48994",
    ),
    by_agency(
        "SIG-25.call-length",
        "HMACOutputLength",
        added("//ds:SignatureMethod", "<ds:HMACOutputLength>0</ds:HMACOutputLength>"),
        "GW204",
        "CVE-2009-0217",
        naive=True,
    ),
    on_its_way(
        "SIG-27.call-zero",
        "r = s = 0",
        text_set("//ds:SignatureValue", base64.b64encode(bytes(64)).decode()),
        "GW202",
        "CVE-2022-21449",
    ),
    on_its_way(
        "SIG-35.call-value",
        "garbage in the signature value",
        replaced_text("//ds:SignatureValue", lambda text: f"!*!{text}"),
        "GW202",
        "signature malleability",
        naive=True,
    ),
    on_its_way(
        "SIG-35.call-token",
        "garbage in the token",
        replaced_text(TOKEN, lambda text: f"!*!{text}"),
        "GW202",
        "signature malleability",
        naive=True,
    ),
)

CASES: Final[tuple[Case, ...]] = (*_METHODS,)
