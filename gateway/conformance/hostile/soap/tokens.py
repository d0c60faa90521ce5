"""Which key signed a call: token references that lead elsewhere, and further tokens (SIG-28, SIG-29)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    added,
    all_of,
    at,
    attribute_set,
    doubled,
    moved,
    name_of,
    put_first,
    removed,
    text_set,
)
from gateway.conformance.hostile.calls import (
    BODY,
    HEADER,
    SECURITY,
    TIMESTAMP,
    TOKEN,
    call_of,
    copied,
    on_its_way,
)
from gateway.conformance.hostile.case import Case, Post
from gateway.conformance.hostile.tampered import attack
from gateway.wire.namespaces import X509_PKI_PATH_TOKEN

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES"]

_REFERENCE: Final = "//wsse:SecurityTokenReference/wsse:Reference"

_TOKEN_REFERENCE: Final = "//ds:KeyInfo/wsse:SecurityTokenReference"  # noqa: S105  # a path

_ID: Final = name_of("wsu:Id")

_CONFUSED: Final = "CVE-2021-21239 (pysaml2); KeyInfo confusion"


def _token_of(who: str) -> Callable[[Bench], Post]:
    """Return: an honest call in which the token is that of somebody else."""

    def make(bench: Bench) -> Post:
        text = base64.b64encode(bench.signer(who).certificate.der).decode()
        return call_of(bench, text_set(TOKEN, text))

    return make


def _other_token_first(bench: Bench) -> Post:
    """Return a call with the token of B before that of the agency."""

    def change(root: etree._Element) -> None:
        other = deepcopy(at(root, TOKEN))
        other.text = base64.b64encode(bench.signer("b").certificate.der).decode()
        other.set(_ID, "another-token")
        put_first(at(root, SECURITY), other)

    return call_of(bench, change)


_TOKENS: Final = (
    *(
        on_its_way(f"SIG-28.call-{name}", title, change, "GW202", _CONFUSED, naive=naive)
        for name, title, change, naive in (
            (
                "key-name",
                "KeyName beside the token reference",
                added("//ds:KeyInfo", "<ds:KeyName>hub</ds:KeyName>"),
                True,
            ),
            (
                "key-value",
                "an empty KeyValue beside the token reference",
                added("//ds:KeyInfo", "<ds:KeyValue/>"),
                True,
            ),
            (
                "x509-data",
                "an X509Data beside the token reference",
                added("//ds:KeyInfo", "<ds:X509Data/>"),
                True,
            ),
            (
                "key-identifier",
                "a KeyIdentifier beside the reference",
                added(_TOKEN_REFERENCE, "<wsse:KeyIdentifier>AAAA</wsse:KeyIdentifier>"),
                True,
            ),
            (
                "embedded",
                "an embedded token beside the reference",
                added(_TOKEN_REFERENCE, "<wsse:Embedded><wsse:BinarySecurityToken/></wsse:Embedded>"),
                True,
            ),
            (
                "issuer-serial",
                "an IssuerSerial instead of the reference",
                all_of(
                    removed(_REFERENCE),
                    added(
                        _TOKEN_REFERENCE,
                        "<ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>CN=x</ds:X509IssuerName><ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>",
                    ),
                ),
                True,
            ),
            ("two-references", "two references in the token reference", doubled(_REFERENCE), True),
            ("two-token-references", "two token references", doubled(_TOKEN_REFERENCE), True),
            ("to-nothing", "a reference to no token", attribute_set(_REFERENCE, "URI", "#nothing"), True),
            (
                "to-body",
                "a reference to the Body as token",
                lambda root: at(root, _REFERENCE).set("URI", "#" + at(root, BODY).get(_ID, "")),
                True,
            ),
            (
                "to-url",
                "a reference to a token at a URL",
                attribute_set(_REFERENCE, "URI", "http://169.254.169.254/token"),
                True,
            ),
            (
                "no-type",
                "a reference without ValueType",
                lambda root: at(root, _REFERENCE).attrib.pop("ValueType"),
                True,
            ),
            (
                "path-type",
                "a token that says it is a PKI path",
                attribute_set(TOKEN, "ValueType", X509_PKI_PATH_TOKEN),
                True,
            ),
            (
                "hex",
                "a token in hexadecimal",
                attribute_set(
                    TOKEN,
                    "EncodingType",
                    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#HexBinary",
                ),
                True,
            ),
            ("no-key-info", "no KeyInfo", removed("//ds:KeyInfo"), True),
            ("no-token", "no token", removed(TOKEN), False),
        )
    ),
    *(
        on_its_way(f"SIG-29.{name}", title, change, problem, "WS-Security §8; BSP R5206", naive=naive)
        for name, title, change, problem, naive in (
            (
                "token-in-header",
                "the token beside the Security header",
                moved(TOKEN, HEADER),
                "GW107",
                True,
            ),
            ("token-in-body", "the token in the Body", moved(TOKEN, BODY), "GW311", False),
            ("token-in-key-info", "the token in KeyInfo", moved(TOKEN, "//ds:KeyInfo"), "GW202", True),
            (
                "token-in-timestamp",
                "a further token in the Timestamp",
                added(TIMESTAMP, "<wsse:BinarySecurityToken/>"),
                "GW202",
                False,
            ),
            ("two-tokens", "two tokens of different Ids", copied(TOKEN), "GW202", True),
        )
    ),
    attack(
        "SIG-29.other-token-first",
        "the token of B before that of the agency",
        _other_token_first,
        "GW202",
        "WS-Security §8; BSP R5206",
        face="soap",
    ),
    attack(
        "SIG-28.call-token-of-b",
        "the token of B over the signature of the agency",
        _token_of("b"),
        "GW202 GW204 GW209",  # of keys of two kinds the algorithm does not fit
        _CONFUSED,
        face="soap",
    ),
)

CASES: Final[tuple[Case, ...]] = (*_TOKENS,)
