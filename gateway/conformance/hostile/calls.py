"""Attacks on one signed SOAP call, by who can make them: anybody on the way, or the agency itself."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from lxml import etree

from gateway.conformance.hostile.alterations import Alteration, at, digest_as_written, on_tree, sign_again
from gateway.conformance.hostile.case import Case, Expected, Post
from gateway.conformance.hostile.craft import swap
from gateway.conformance.hostile.tampered import attack
from gateway.wire.namespaces import WSU

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench
    from gateway.conformance.hostile.plays import Maker

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
    "a_call",
    "by_agency",
    "call_of",
    "copied",
    "on_its_way",
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
DECLARED: Final = swap("<soap:Envelope ", f'<soap:Envelope xmlns:wsu="{WSU}" xmlns:x="urn:example:unknown" ')


def call_of(bench: Bench, *changes: Alteration, **hooks: Any) -> Post:
    """Return an honest call whose envelope is changed after it was signed."""
    return bench.call(envelope=DECLARED, tampered=on_tree(*changes) if changes else None, **hooks)


def copied(path: str, *, with_id: bool = False) -> Alteration:
    """Return the change that puts a copy behind the element at `path`, without its wsu:Id unless told."""

    def change(root: etree._Element) -> None:
        original = at(root, path)
        again = deepcopy(original)
        if not with_id:
            again.attrib.pop(f"{{{WSU}}}Id", "")
        original.addnext(again)

    return change


def a_call(name: str, title: str, make: Maker, expected: str, source: str, *, naive: bool = True) -> Case:
    """Return: a call made in any way."""
    return attack(name, title, make, expected, source, face="soap", naive=naive)


def on_its_way(
    name: str, title: str, change: Alteration, expected: str | Expected, source: str, *, naive: bool = False
) -> Case:
    """Return: a call changed after it was signed."""
    return attack(
        name, title, lambda bench: call_of(bench, change), expected, source, face="soap", naive=naive
    )


def by_agency(
    name: str,
    title: str,
    change: Alteration,
    expected: str | Expected,
    source: str,
    *,
    signer: str = "agency",
    naive: bool = False,
) -> Case:
    """Return: a call that the agency has changed and signed again, with the digests that it then has."""

    def make(bench: Bench) -> Post:
        return call_of(bench, change, digest_as_written, sign_again(bench.signer(signer)), signer=signer)

    return attack(name, title, make, expected, source, face="soap", naive=naive)
