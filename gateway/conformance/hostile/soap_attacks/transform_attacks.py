"""Canonical forms, transforms, algorithms and values in the signature of a call (SIG-18 to SIG-35)."""

from __future__ import annotations

import base64
from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.case_builders import (
    BODY,
    FIRST_REFERENCE,
    HEADER,
    TIMESTAMP,
    TOKEN,
    make_agency_attack,
    make_call_transit_attack,
)
from gateway.conformance.hostile.exchange import LAWFUL
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    append_element,
    duplicate_element,
    get_element,
    get_elements,
    insert_comment,
    insert_element,
    remove_element,
    replace_text,
    set_attribute,
    set_text,
)
from gateway.wire import C14N, C14N_EXCLUSIVE, DS, DSIG_MORE

__all__ = ["CASES"]

_BSP: Final = "WS-I Basic Security Profile 1.1"

_PLAIN: Final = "CVE-2022-34169; signxml 5.2 passes over what it does not know"


def _set_all_transforms(algorithm: str) -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        for transform in get_elements(root, "//ds:Transform"):
            transform.set("Algorithm", algorithm)

    return alter_tree


def _append_prefix_list(count: int) -> TreeMutation:
    return append_element(
        f"{FIRST_REFERENCE}/ds:Transforms/ds:Transform",
        f'<ec:InclusiveNamespaces PrefixList="{"a " * count}"/>',
    )


_RECEIPT_NUMBER: Final = f"{BODY}/*/*[local-name()='ReceiptNumber']"

_METHODS: Final = (
    make_call_transit_attack(
        "SIG-18.call-message-id",
        "a comment in the middle of MessageID",
        insert_comment(f"{HEADER}/wsa:MessageID"),
        "GW107",
        "CVE-2017-11427 and others",
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-18.call-action",
        "a comment in the middle of Action",
        insert_comment(f"{HEADER}/wsa:Action"),
        "GW107",
        "CVE-2017-11427 and others",
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-18.call-timestamp",
        "a comment in Expires",
        insert_comment(f"{TIMESTAMP}/wsu:Expires"),
        "GW202",
        "CVE-2017-11427 and others",
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-18.call-digest",
        "a comment in a digest value",
        insert_comment(f"{FIRST_REFERENCE}/ds:DigestValue"),
        "GW202",
        "CVE-2017-11427 and others",
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-18.call-body",
        "a comment in a value of the Body: it is the whole value that counts",
        insert_comment(_RECEIPT_NUMBER),
        LAWFUL,
        "CVE-2017-11427 and others: what is read must be what was signed",
        naive=True,
    ),
    make_agency_attack(
        "SIG-19.call-with-comments",
        "SignedInfo canonicalised with comments",
        set_attribute("//ds:CanonicalizationMethod", "Algorithm", f"{C14N_EXCLUSIVE}WithComments"),
        "GW204",
        "CVE-2025-29775",
        naive=True,
    ),
    make_agency_attack(
        "SIG-19.call-parts-with-comments",
        "the parts canonicalised with comments",
        _set_all_transforms(f"{C14N_EXCLUSIVE}WithComments"),
        "GW202",
        "CVE-2025-29775",
        naive=True,
    ),
    make_agency_attack(
        "SIG-19.call-inclusive",
        "SignedInfo in inclusive C14N",
        set_attribute("//ds:CanonicalizationMethod", "Algorithm", C14N),
        "GW204",
        _BSP,
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-20.call",
        "a relative namespace name in the Body",
        lambda root: get_element(root, BODY)[0].append(etree.fromstring('<a xmlns="relative/name"/>')),
        "GW202",
        "The Fragile Lock, 2025",
    ),
    *(
        make_agency_attack(
            f"SIG-21.call-{name}",
            title,
            change,
            "GW102" if name == "prefixes" else "GW202",
            _PLAIN,
            naive=True,
        )
        for name, title, change in (
            ("inclusive", "the parts in inclusive C14N", _set_all_transforms(C14N)),
            (
                "token-reference",
                "the STR-Transform for every part",
                _set_all_transforms(
                    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform"
                ),
            ),
            (
                "enveloped",
                "enveloped-signature for every part",
                _set_all_transforms(f"{DS}enveloped-signature"),
            ),
            (
                "unknown",
                "a transform that there is not, before the canonical form",
                insert_element(
                    f"{FIRST_REFERENCE}/ds:Transforms", '<ds:Transform Algorithm="urn:example:transform"/>'
                ),
            ),
            (
                "xslt",
                "an XSLT transform before the canonical form",
                insert_element(
                    f"{FIRST_REFERENCE}/ds:Transforms",
                    '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"><x:stylesheet/></ds:Transform>',
                ),
            ),
            (
                "twice",
                "the canonical form twice",
                duplicate_element(f"{FIRST_REFERENCE}/ds:Transforms/ds:Transform"),
            ),
            ("none", "no transforms for the Body", remove_element(f"{FIRST_REFERENCE}/ds:Transforms")),
            ("prefixes", "a list of forty prefixes", _append_prefix_list(40)),
        )
    ),
    make_agency_attack(
        "SIG-26.call-sha1",
        "SHA-1 as digest",
        set_attribute(f"{FIRST_REFERENCE}/ds:DigestMethod", "Algorithm", f"{DS}sha1"),
        "GW204",
        "RFC 6931",
    ),
    make_agency_attack(
        "SIG-26.call-rsa-sha1",
        "rsa-sha1 as signature",
        set_attribute("//ds:SignatureMethod", "Algorithm", f"{DS}rsa-sha1"),
        "GW204",
        "RFC 6931",
    ),
    make_agency_attack(
        "SIG-24.call-hmac",
        "an HMAC as signature",
        set_attribute("//ds:SignatureMethod", "Algorithm", f"{DSIG_MORE}hmac-sha256"),
        "GW204",
        "CVE-2025-48994",
    ),
    make_agency_attack(
        "SIG-25.call-length",
        "HMACOutputLength",
        append_element("//ds:SignatureMethod", "<ds:HMACOutputLength>0</ds:HMACOutputLength>"),
        "GW204",
        "CVE-2009-0217",
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-27.call-zero",
        "r = s = 0",
        set_text("//ds:SignatureValue", base64.b64encode(bytes(64)).decode()),
        "GW202",
        "CVE-2022-21449",
    ),
    make_call_transit_attack(
        "SIG-35.call-value",
        "garbage in the signature value",
        replace_text("//ds:SignatureValue", lambda text: f"!*!{text}"),
        "GW202",
        "signature malleability",
        naive=True,
    ),
    make_call_transit_attack(
        "SIG-35.call-token",
        "garbage in the token",
        replace_text(TOKEN, lambda text: f"!*!{text}"),
        "GW202",
        "signature malleability",
        naive=True,
    ),
)

CASES: Final[tuple[AttackCase, ...]] = (*_METHODS,)
