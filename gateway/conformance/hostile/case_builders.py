"""Builders of cases: the request, the scenario, and the required result.

The usual case is one request. An attacker on the way has no key. The sender and the agency
have keys and sign what must not be signed, so that the request is wrong in exactly one
respect.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import deepcopy
from typing import Any, Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase, Scenario
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import (
    ACCEPTED,
    Answer,
    Exchange,
    Expectation,
    HttpRequest,
    expect_refusal_codes,
)
from gateway.conformance.hostile.octet_mutations import OctetMutation, add_root_attributes
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    get_element,
    mutate_tree,
)
from gateway.errors import PROBLEMS
from gateway.wire import WSU

#: Makes a request from a kit.
RequestMaker = Callable[[AttackerKit], HttpRequest]

#: Faults by which a SOAP stack may refuse errors in WS-Security or in the envelope.
SOAP_REFUSALS: Final = (
    "FailedCheck",
    "InvalidSecurity",
    "InvalidSecurityToken",
    "FailedAuthentication",
    "Client",
    "Sender",
)

#: Paths in a signed envelope: the reference to it, its transforms, the reference to the first payload.
ENVELOPE_REFERENCE: Final = "//ds:SignedInfo/ds:Reference[@URI='']"
TRANSFORMS: Final = f"{ENVELOPE_REFERENCE}/ds:Transforms"
CID: Final = "//ds:SignedInfo/ds:Reference[starts-with(@URI, 'cid:p1')]"

#: Paths in a signed call; the first reference is that to the Body.
HEADER: Final = "/soap:Envelope/soap:Header"
BODY: Final = "/soap:Envelope/soap:Body"
SECURITY: Final = f"{HEADER}/wsse:Security"
TOKEN: Final = f"{SECURITY}/wsse:BinarySecurityToken"
TIMESTAMP: Final = f"{SECURITY}/wsu:Timestamp"
CREATED: Final = f"{TIMESTAMP}/wsu:Created"
EXPIRES: Final = f"{TIMESTAMP}/wsu:Expires"
FIRST_REFERENCE: Final = "(//ds:SignedInfo/ds:Reference)[1]"


#: An element keeps its prefixes when it is moved, as in text that is cut and pasted.
DECLARED: Final = add_root_attributes(lambda: f'xmlns:wsu="{WSU}" xmlns:x="urn:example:unknown"'.encode())


def expect_refusal(*problems: str, http: tuple[int, ...] = (), silent: bool = False) -> Expectation:
    """Return the expectation of a refusal by `problems`, with their codes in ErrorLists and faults.

    A gateway that detects the forgery by the signature answers SecurityFailure. A gateway
    that detects the wrong structure first may answer that.
    """
    if "GW701" in problems:
        # A number that was never given may also be told as mistyped, by its check sign.
        problems = tuple(dict.fromkeys((*problems, "GW513")))
    rows = [PROBLEMS[one] for one in problems]
    told = (code for row in rows for code in (row.ebms2, row.ebms3) if code)
    codes = dict.fromkeys(["SecurityFailure", "EBMS:0101", *told])
    own = ((row.soap or "Client").rpartition(":")[2] for row in rows)
    return expect_refusal_codes(
        *problems,
        ebms=tuple(codes),
        faults=tuple(dict.fromkeys([*own, *SOAP_REFUSALS])),
        http=http,
        silent=silent,
    )


def expect_early_refusal(*problems: str) -> Expectation:
    """Return the expectation of a refusal by `problems`, by a message or by HTTP alone."""
    return expect_refusal(*problems, http=(400, 413, 415, 422, 431))


def make_control_scenario(control: RequestMaker, attack: RequestMaker, expected: Expectation) -> Scenario:
    """Return the scenario of an honest request and then an attack."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        yield Exchange(control(kit), ACCEPTED)
        yield Exchange(attack(kit), expected)

    return run_scenario


def make_single_scenario(make: RequestMaker, expected: Expectation) -> Scenario:
    """Return the scenario of one request."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        yield Exchange(make(kit), expected)

    return run_scenario


def make_attack_case(
    name: str,
    title: str,
    make: RequestMaker,
    expected: str | Expectation,
    source: str,
    *,
    face: str = "ebms2",
    feature: str = "",
    naive: bool = False,
) -> AttackCase:
    """Return a case of one request; `expected` may be the id of the problem that refuses it."""
    must = expect_refusal(*expected.split()) if isinstance(expected, str) else expected
    return AttackCase(name, title, face, source, make_single_scenario(make, must), feature, naive)


def make_both_face_cases(
    name: str, title: str, change: OctetMutation, problems: str, source: str, *, signed: bool = True
) -> tuple[AttackCase, AttackCase]:
    """Return the case for messages and, as ``name-call``, for calls: `change` is made after signing."""
    must = expect_early_refusal(*problems.split())
    return (
        make_attack_case(
            name, title, lambda kit: kit.build_message(signed=signed, tampered=change), must, source
        ),
        make_attack_case(
            f"{name}-call",
            title,
            lambda kit: kit.build_call(signed=signed, tampered=change),
            must,
            source,
            face="soap",
        ),
    )


def build_tampered_call(kit: AttackerKit, *changes: TreeMutation, **hooks: Any) -> HttpRequest:
    """Return an honest call whose envelope is changed after it was signed."""
    return kit.build_call(envelope=DECLARED, tampered=mutate_tree(*changes) if changes else None, **hooks)


def copy_element(path: str, *, with_id: bool = False) -> TreeMutation:
    """Return the change that copies the element at `path` behind it; by default without its wsu:Id."""

    def alter_tree(root: etree._Element) -> None:
        original = get_element(root, path)
        again = deepcopy(original)
        if not with_id:
            again.attrib.pop(f"{{{WSU}}}Id", "")
        original.addnext(again)

    return alter_tree
