"""Attacks on the Security header of a call: the signing key (SIG-28, SIG-29) and the time (REP-05)."""

from __future__ import annotations

import base64
from copy import deepcopy
from datetime import timedelta
from typing import Final

from lxml import etree

from gateway.wire import X509_PKI_PATH_TOKEN
from gateway_conformance.hostile.attack_cases import (
    BODY,
    CREATED,
    EXPIRES,
    HEADER,
    SECURITY,
    TIMESTAMP,
    TOKEN,
    AttackCase,
    AttackTable,
    RequestMaker,
    build_tampered_call,
    change_call_on_the_way,
    copy_element,
    make_attack_case,
    make_table_cases,
    sign_call_again,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    TreeMutation,
    append_element,
    combine_mutations,
    duplicate_element,
    expand_name,
    get_element,
    make_first_child,
    move_element,
    remove_attribute,
    remove_element,
    replace_text,
    set_attribute,
    set_text,
)
from gateway_conformance.hostile.exchange import HttpRequest

_CONFUSED: Final = "CVE-2021-21239 (pysaml2); KeyInfo confusion"
_TOKENS: Final = "WS-Security §8; BSP R5206"
_TIME: Final = "WS-Security §10; BSP R3203 to R3229"
_KEY_INFO: Final = "//ds:KeyInfo"
_HOLDER: Final = f"{_KEY_INFO}/wsse:SecurityTokenReference"
_REFERENCE: Final = "//wsse:SecurityTokenReference/wsse:Reference"
_HEX: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#HexBinary"
_WSU_ID: Final = expand_name("wsu:Id")
_ISSUER: Final = (
    "<ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>CN=x</ds:X509IssuerName>"
    "<ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>"
)
_SECOND_TIMESTAMP: Final = (
    "<wsu:Timestamp><wsu:Created>2026-01-01T00:00:00Z</wsu:Created>"
    "<wsu:Expires>2999-01-01T00:00:00Z</wsu:Expires></wsu:Timestamp>"
)


def _point_token_reference_to_body(root: etree._Element) -> None:
    get_element(root, _REFERENCE).set("URI", "#" + get_element(root, BODY).get(_WSU_ID, ""))


def _move_expires_first(root: etree._Element) -> None:
    make_first_child(get_element(root, TIMESTAMP), get_element(root, EXPIRES))


def _encode_certificate(kit: AttackerKit, signer: str) -> str:
    return base64.b64encode(kit.get_signer(signer).certificate.der).decode()


def _replace_token(kit: AttackerKit) -> HttpRequest:
    """Return an honest call with the token of B."""
    return build_tampered_call(kit, set_text(TOKEN, _encode_certificate(kit, "b")))


def _prepend_token(kit: AttackerKit) -> HttpRequest:
    """Return a call with the token of B before that of the agency."""

    def alter_tree(root: etree._Element) -> None:
        token = deepcopy(get_element(root, TOKEN))
        token.text = _encode_certificate(kit, "b")
        token.set(_WSU_ID, "another-token")
        make_first_child(get_element(root, SECURITY), token)

    return build_tampered_call(kit, alter_tree)


def _shift_clock(shift: timedelta) -> RequestMaker:
    """Return the step that sends an honest call with a wrong clock."""
    return lambda kit: kit.build_call(now=kit.get_current_time() + shift)


def _expire_after(lifetime: timedelta) -> RequestMaker:
    """Return the step that sends a signed call whose Timestamp expires after this time."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        text = (kit.get_current_time() + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        return sign_call_again(set_text(EXPIRES, text))(kit)

    return make_request


# fmt: off
#: Content of KeyInfo beside the token reference.
_KEY_INFO_CONTENT: Final[AttackTable[str]] = (
    ("key-name", "KeyName beside the token reference", "<ds:KeyName>hub</ds:KeyName>"),
    ("key-value", "an empty KeyValue beside the token reference", "<ds:KeyValue/>"),
    ("x509-data", "an X509Data beside the token reference", "<ds:X509Data/>"),
)

#: Token references to other targets.
_REFERENCES: Final[AttackTable[TreeMutation]] = (
    ("call-key-identifier", "a KeyIdentifier beside the reference",
     append_element(_HOLDER, "<wsse:KeyIdentifier>AAAA</wsse:KeyIdentifier>")),
    ("call-embedded", "an embedded token beside the reference",
     append_element(_HOLDER, "<wsse:Embedded><wsse:BinarySecurityToken/></wsse:Embedded>")),
    ("call-issuer-serial", "an IssuerSerial instead of the reference",
     combine_mutations(remove_element(_REFERENCE), append_element(_HOLDER, _ISSUER))),
    ("call-two-references", "two references in the token reference", duplicate_element(_REFERENCE)),
    ("call-two-token-references", "two token references", duplicate_element(_HOLDER)),
    ("call-to-nothing", "a reference to no token", set_attribute(_REFERENCE, "URI", "#nothing")),
    ("call-to-body", "a reference to the Body as token", _point_token_reference_to_body),
    ("call-to-url", "a reference to a token at a URL",
     set_attribute(_REFERENCE, "URI", "http://169.254.169.254/token")),
    ("call-no-type", "a reference without ValueType", remove_attribute(_REFERENCE, "ValueType")),
    ("call-path-type", "a token that says it is a PKI path",
     set_attribute(TOKEN, "ValueType", X509_PKI_PATH_TOKEN)),
    ("call-hex", "a token in hexadecimal", set_attribute(TOKEN, "EncodingType", _HEX)),
    ("call-no-key-info", "no KeyInfo", remove_element(_KEY_INFO)),
    ("call-no-token", "no token", remove_element(TOKEN), "GW202", False),
)

#: Further tokens, and the token in other places.
_PLACES: Final[AttackTable[TreeMutation]] = (
    ("token-in-header", "the token beside the Security header", move_element(TOKEN, HEADER), "GW107"),
    ("token-in-body", "the token in the Body", move_element(TOKEN, BODY), "GW311", False),
    ("token-in-key-info", "the token in KeyInfo", move_element(TOKEN, _KEY_INFO), "GW202"),
    ("token-in-timestamp", "a further token in the Timestamp",
     append_element(TIMESTAMP, "<wsse:BinarySecurityToken/>"), "GW202", False),
    ("two-tokens", "two tokens of different Ids", copy_element(TOKEN), "GW202"),
)

#: Calls with a wrong clock.
_CLOCKS: Final[AttackTable[timedelta]] = (
    ("expired", "a call made an hour ago", timedelta(hours=-1)),
    ("just-expired", "a call made five minutes and a second ago", timedelta(seconds=-301)),
    ("future", "a call made in an hour", timedelta(hours=1)),
    ("far-future", "a call made in ten years", timedelta(days=3650)),
)

#: Lifetimes of a Timestamp.
_LIFETIMES: Final[AttackTable[timedelta]] = (
    ("ends-at-once", "a Timestamp that has expired a second ago, though just created", timedelta(seconds=-1)),
    ("lives-long", "a Timestamp that lives two days", timedelta(days=2)),
)

#: Times that the agency signed: the element, and the time.
_MOMENTS: Final[AttackTable[tuple[str, str]]] = (
    ("year-9999", "Expires in the year 9999", (EXPIRES, "9999-12-31T23:59:59Z")),
    ("year-10000", "Expires in the year 10000", (EXPIRES, "10000-01-01T00:00:00Z")),
    ("year-0000", "Created in the year 0", (CREATED, "0000-01-01T00:00:00Z")),
    ("offset", "Created with an offset", (CREATED, "2026-11-20T18:00:00+09:00")),
    ("leap-second", "Created in a leap second", (CREATED, "2026-06-30T23:59:60Z")),
    ("no-date", "Created on the thirtieth of February", (CREATED, "2026-02-30T00:00:00Z")),
    ("words", "Expires is a word", (EXPIRES, "never")),
    ("empty", "Created is empty", (CREATED, "")),
)

#: Timestamps of another structure, which the agency has signed.
_TIMESTAMPS: Final[AttackTable[TreeMutation]] = (
    ("no-zone", "Created without a zone", replace_text(CREATED, lambda text: text.rstrip("Z"))),
    ("no-created", "no Created", remove_element(CREATED)),
    ("no-expires", "no Expires", remove_element(EXPIRES)),
    ("two-created", "Created stands twice", duplicate_element(CREATED)),
    ("swapped", "Expires before Created", _move_expires_first),
    ("further", "an unknown element in the Timestamp",
     append_element(TIMESTAMP, "<x:Until>2999-01-01T00:00:00Z</x:Until>")),
)

#: Timestamps changed after the call was signed.
_CHANGED_TIMESTAMPS: Final[AttackTable[TreeMutation]] = (
    ("absent", "no Timestamp", remove_element(TIMESTAMP), "GW211", False),
    ("two", "two Timestamps, the second unsigned", append_element(SECURITY, _SECOND_TIMESTAMP), "GW211"),
    ("in-header", "the Timestamp beside the Security header", move_element(TIMESTAMP, HEADER), "GW107"),
    ("prolonged", "Expires prolonged after the call was signed", set_text(EXPIRES, "2999-01-01T00:00:00Z"),
     "GW202", False),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *make_table_cases("SIG-28.call-", _KEY_INFO_CONTENT,
     lambda text: change_call_on_the_way(append_element(_KEY_INFO, text)), _CONFUSED, "GW202", face="soap",
     naive=True),
    *make_table_cases("SIG-28.", _REFERENCES, change_call_on_the_way, _CONFUSED, "GW202", face="soap",
     naive=True),
    *make_table_cases("SIG-29.", _PLACES, change_call_on_the_way, _TOKENS, face="soap", naive=True),
    make_attack_case("SIG-29.other-token-first", "the token of B before that of the agency", _prepend_token,
     "GW202", _TOKENS, face="soap"),
    make_attack_case(
        "SIG-28.call-token-of-b",
        "the token of B over the signature of the agency",
        _replace_token,
        "GW202 GW204 GW209",  # keys of two kinds: the algorithm does not match
        _CONFUSED,
        face="soap",
    ),
    *make_table_cases("REP-05.", _CLOCKS, _shift_clock, _TIME, "GW211", face="soap", naive=True),
    *make_table_cases("REP-05.", _LIFETIMES, _expire_after, _TIME, "GW211", face="soap", naive=True),
    *make_table_cases("REP-05.", _MOMENTS, lambda moment: sign_call_again(set_text(*moment)), _TIME, "GW211",
     face="soap", naive=True),
    *make_table_cases("REP-05.", _TIMESTAMPS, sign_call_again, _TIME, "GW211", face="soap", naive=True),
    *make_table_cases("REP-05.", _CHANGED_TIMESTAMPS, change_call_on_the_way, _TIME, face="soap", naive=True),
)
# fmt: on
"""Tokens and Timestamps of calls."""
