"""Attacks on one signed SOAP call, by who can make them: anybody on the way, or the agency itself."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import Expectation, HttpRequest
from gateway.conformance.hostile.message_attacks import make_attack_case
from gateway.conformance.hostile.message_mutation import swap_octets
from gateway.conformance.hostile.scenarios import RequestMaker
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    get_element,
    mutate_tree,
    recompute_signature,
    recompute_written_digests,
)
from gateway.wire.namespaces import WSU

__all__ = [
    "BODY",
    "CREATED",
    "DECLARED",
    "EXPIRES",
    "FIRST_REFERENCE",
    "HEADER",
    "SECURITY",
    "TIMESTAMP",
    "TOKEN",
    "build_tampered_call",
    "copy_element",
    "make_agency_attack",
    "make_call_attack",
    "make_call_transit_attack",
]

#: Paths in a signed call; the first reference is that to the Body.
HEADER: Final = "/soap:Envelope/soap:Header"
BODY: Final = "/soap:Envelope/soap:Body"
SECURITY: Final = f"{HEADER}/wsse:Security"
TOKEN: Final = f"{SECURITY}/wsse:BinarySecurityToken"
TIMESTAMP: Final = f"{SECURITY}/wsu:Timestamp"
CREATED: Final = f"{TIMESTAMP}/wsu:Created"
EXPIRES: Final = f"{TIMESTAMP}/wsu:Expires"
FIRST_REFERENCE: Final = "(//ds:SignedInfo/ds:Reference)[1]"


#: Prefixes stay what they are wherever an element goes, as they do when a text is cut and pasted.
DECLARED: Final = swap_octets(
    "<soap:Envelope ", f'<soap:Envelope xmlns:wsu="{WSU}" xmlns:x="urn:example:unknown" '
)


def build_tampered_call(bench: AttackerKit, *changes: TreeMutation, **hooks: Any) -> HttpRequest:
    """Return an honest call whose envelope is changed after it was signed."""
    return bench.build_call(envelope=DECLARED, tampered=mutate_tree(*changes) if changes else None, **hooks)


def copy_element(path: str, *, with_id: bool = False) -> TreeMutation:
    """Return the change that puts a copy behind the element at `path`, without its wsu:Id unless told."""

    def alter_tree(root: etree._Element) -> None:
        original = get_element(root, path)
        again = deepcopy(original)
        if not with_id:
            again.attrib.pop(f"{{{WSU}}}Id", "")
        original.addnext(again)

    return alter_tree


def make_call_attack(
    name: str, title: str, make: RequestMaker, expected: str, source: str, *, naive: bool = True
) -> AttackCase:
    """Return: a call made in any way."""
    return make_attack_case(name, title, make, expected, source, face="soap", naive=naive)


def make_call_transit_attack(
    name: str,
    title: str,
    change: TreeMutation,
    expected: str | Expectation,
    source: str,
    *,
    naive: bool = False,
) -> AttackCase:
    """Return: a call changed after it was signed."""
    return make_attack_case(
        name,
        title,
        lambda bench: build_tampered_call(bench, change),
        expected,
        source,
        face="soap",
        naive=naive,
    )


def make_agency_attack(
    name: str,
    title: str,
    change: TreeMutation,
    expected: str | Expectation,
    source: str,
    *,
    signer: str = "agency",
    naive: bool = False,
) -> AttackCase:
    """Return: a call that the agency has changed and signed again, with the digests that it then has."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        return build_tampered_call(
            bench,
            change,
            recompute_written_digests,
            recompute_signature(bench.get_signer(signer)),
            signer=signer,
        )

    return make_attack_case(name, title, make_request, expected, source, face="soap", naive=naive)
