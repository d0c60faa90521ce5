"""Which key signed a call: token references that lead elsewhere, and further tokens (SIG-28, SIG-29)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from copy import deepcopy
from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import (
    BODY,
    HEADER,
    SECURITY,
    TIMESTAMP,
    TOKEN,
    build_tampered_call,
    copy_element,
    make_attack_case,
    make_call_transit_attack,
)
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.conformance.hostile.tree_mutations import (
    append_element,
    combine_mutations,
    duplicate_element,
    expand_name,
    get_element,
    make_first_child,
    move_element,
    remove_element,
    set_attribute,
    set_text,
)
from gateway.wire import X509_PKI_PATH_TOKEN

__all__ = ["CASES"]

_REFERENCE: Final = "//wsse:SecurityTokenReference/wsse:Reference"

_TOKEN_REFERENCE: Final = "//ds:KeyInfo/wsse:SecurityTokenReference"  # noqa: S105  # a path

_ID: Final = expand_name("wsu:Id")

_CONFUSED: Final = "CVE-2021-21239 (pysaml2); KeyInfo confusion"


def _make_foreign_token_call(who: str) -> Callable[[AttackerKit], HttpRequest]:
    """Return: an honest call in which the token is that of somebody else."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        text = base64.b64encode(bench.get_signer(who).certificate.der).decode()
        return build_tampered_call(bench, set_text(TOKEN, text))

    return make_request


def _make_preceding_token_call(bench: AttackerKit) -> HttpRequest:
    """Return a call with the token of B before that of the agency."""

    def alter_tree(root: etree._Element) -> None:
        other = deepcopy(get_element(root, TOKEN))
        other.text = base64.b64encode(bench.get_signer("b").certificate.der).decode()
        other.set(_ID, "another-token")
        make_first_child(get_element(root, SECURITY), other)

    return build_tampered_call(bench, alter_tree)


_TOKENS: Final = (
    *(
        make_call_transit_attack(f"SIG-28.call-{name}", title, change, "GW202", _CONFUSED, naive=naive)
        for name, title, change, naive in (
            (
                "key-name",
                "KeyName beside the token reference",
                append_element("//ds:KeyInfo", "<ds:KeyName>hub</ds:KeyName>"),
                True,
            ),
            (
                "key-value",
                "an empty KeyValue beside the token reference",
                append_element("//ds:KeyInfo", "<ds:KeyValue/>"),
                True,
            ),
            (
                "x509-data",
                "an X509Data beside the token reference",
                append_element("//ds:KeyInfo", "<ds:X509Data/>"),
                True,
            ),
            (
                "key-identifier",
                "a KeyIdentifier beside the reference",
                append_element(_TOKEN_REFERENCE, "<wsse:KeyIdentifier>AAAA</wsse:KeyIdentifier>"),
                True,
            ),
            (
                "embedded",
                "an embedded token beside the reference",
                append_element(
                    _TOKEN_REFERENCE, "<wsse:Embedded><wsse:BinarySecurityToken/></wsse:Embedded>"
                ),
                True,
            ),
            (
                "issuer-serial",
                "an IssuerSerial instead of the reference",
                combine_mutations(
                    remove_element(_REFERENCE),
                    append_element(
                        _TOKEN_REFERENCE,
                        "<ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>CN=x</ds:X509IssuerName><ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>",
                    ),
                ),
                True,
            ),
            ("two-references", "two references in the token reference", duplicate_element(_REFERENCE), True),
            ("two-token-references", "two token references", duplicate_element(_TOKEN_REFERENCE), True),
            ("to-nothing", "a reference to no token", set_attribute(_REFERENCE, "URI", "#nothing"), True),
            (
                "to-body",
                "a reference to the Body as token",
                lambda root: get_element(root, _REFERENCE).set(
                    "URI", "#" + get_element(root, BODY).get(_ID, "")
                ),
                True,
            ),
            (
                "to-url",
                "a reference to a token at a URL",
                set_attribute(_REFERENCE, "URI", "http://169.254.169.254/token"),
                True,
            ),
            (
                "no-type",
                "a reference without ValueType",
                lambda root: get_element(root, _REFERENCE).attrib.pop("ValueType"),
                True,
            ),
            (
                "path-type",
                "a token that says it is a PKI path",
                set_attribute(TOKEN, "ValueType", X509_PKI_PATH_TOKEN),
                True,
            ),
            (
                "hex",
                "a token in hexadecimal",
                set_attribute(
                    TOKEN,
                    "EncodingType",
                    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#HexBinary",
                ),
                True,
            ),
            ("no-key-info", "no KeyInfo", remove_element("//ds:KeyInfo"), True),
            ("no-token", "no token", remove_element(TOKEN), False),
        )
    ),
    *(
        make_call_transit_attack(
            f"SIG-29.{name}", title, change, problem, "WS-Security §8; BSP R5206", naive=naive
        )
        for name, title, change, problem, naive in (
            (
                "token-in-header",
                "the token beside the Security header",
                move_element(TOKEN, HEADER),
                "GW107",
                True,
            ),
            ("token-in-body", "the token in the Body", move_element(TOKEN, BODY), "GW311", False),
            ("token-in-key-info", "the token in KeyInfo", move_element(TOKEN, "//ds:KeyInfo"), "GW202", True),
            (
                "token-in-timestamp",
                "a further token in the Timestamp",
                append_element(TIMESTAMP, "<wsse:BinarySecurityToken/>"),
                "GW202",
                False,
            ),
            ("two-tokens", "two tokens of different Ids", copy_element(TOKEN), "GW202", True),
        )
    ),
    make_attack_case(
        "SIG-29.other-token-first",
        "the token of B before that of the agency",
        _make_preceding_token_call,
        "GW202",
        "WS-Security §8; BSP R5206",
        face="soap",
    ),
    make_attack_case(
        "SIG-28.call-token-of-b",
        "the token of B over the signature of the agency",
        _make_foreign_token_call("b"),
        "GW202 GW204 GW209",  # of keys of two kinds the algorithm does not fit
        _CONFUSED,
        face="soap",
    ),
)

CASES: Final[tuple[AttackCase, ...]] = (*_TOKENS,)
