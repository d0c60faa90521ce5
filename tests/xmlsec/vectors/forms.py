"""Canonical forms of others: files that must equal ours octet for octet, and digests that must match."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import DS, canonicalize_document, canonicalize_element, parse_xml
from tests.wire import test_canonicalization as known

# Folders of a signature and the intermediate forms that its makers wrote down.
INTERMEDIATE = (
    "xmldsig-santuario/ie/baltimore/merlin-examples/merlin-exc-c14n-one/exc-signature.xml",
    "xmldsig-santuario/interop/c14n/Y1/exc-signature.xml",
    "xmldsig-santuario/interop/c14n/Y3/signature.xml",
    "xmldsig-santuario/interop/c14n/Y4/signature.xml",
    "xmldsig-santuario/interop/c14n/Y5/signature.xml",
    "xmldsig-xmlsec/merlin-exc-c14n-one/exc-signature.xml",
    "xmldsig-xmlsec/merlin-c14n-three/signature.xml",
)
_LISTED = (("bar", "#default"), ("bar",), ("#default",))


@dataclass
class Count:
    """Files equal octet for octet, files of other forms, digests that match, and what is wrong."""

    equal: int = 0
    not_ours: int = 0
    digests: int = 0
    bad_digests: int = 0
    wrong: list[str] = field(default_factory=list)


def count(vectors: Path) -> Count:
    """Compare every canonical form at hand."""
    told = Count()
    _examples(vectors, told)
    for name in INTERMEDIATE:
        _intermediate(vectors / "vectors" / name, told)
    for path in (
        path
        for suite in ("santuario", "xmlsec", "signxml")
        for path in sorted((vectors / "vectors" / f"xmldsig-{suite}").rglob("*.xml"))
    ):
        _digests(path, told)
    return told


def _examples(vectors: Path, told: Count) -> None:
    """The examples of the recommendations, whole documents and sub-trees."""
    place = vectors / "vectors/xmldsig-santuario/org/apache/xml/security/c14n"
    whole = etree.XMLParser(resolve_entities=True, load_dtd=True, attribute_defaults=True, no_network=True)
    for given in sorted((place / "in").glob("*_input.xml")):
        wanted = given.with_name(given.name.replace("_input", "_c14n"))
        if given.name.startswith(("37", "38", "default")):  # subsets that no profile of ours has
            told.not_ours += not given.name.startswith("default")
            continue
        ours = canonicalize_document(etree.parse(given, whole).getroot())
        _equal(ours == wanted.read_bytes(), given.name, told)
    for name, local, exclusive, wanted in known.EXAMPLES:
        root = etree.parse(place / name, known.LAX).getroot()
        target = next(element for element in root.iter("{*}" + local))
        _equal(canonicalize_element(target, exclusive=exclusive) == (place / wanted).read_bytes(), name, told)


def _equal(same: bool, name: str, told: Count) -> None:
    told.equal += same
    if not same:
        told.wrong.append(f"{name}: another canonical form")


def _intermediate(signature: Path, told: Count) -> None:
    """Forms that are one of ours of some element; the others drop namespace nodes by XPath."""
    try:
        root = parse_xml(signature.read_bytes())
    except GatewayError:
        told.not_ours += len(list(signature.parent.glob("c14n-*.txt")))
        return
    forms = {form for element in root.iter("*") for form in _forms(element)}
    for path in sorted(signature.parent.glob("c14n-*.txt")):
        same = path.read_bytes() in forms
        told.equal += same
        told.not_ours += not same


def _forms(element: etree._Element) -> list[bytes]:
    forms = [canonicalize_element(element, with_comments=comments) for comments in (False, True)]
    for listed in ((), *_LISTED):
        forms += [
            canonicalize_element(element, exclusive=True, prefixes=listed, with_comments=comments)
            for comments in (False, True)
        ]
    return forms


def _digests(path: Path, told: Count) -> None:
    """Digests that others computed over forms that are ours too."""
    octets = path.read_bytes()
    if b"SignedInfo" not in octets:
        return
    root = etree.fromstring(octets, known.LAX, base_url=str(path))
    for found in root.iter(f"{{{DS}}}Reference"):
        method = found.find(f"{{{DS}}}DigestMethod")
        form = known._digested(root, found) if method is not None else None
        if method is None or form is None or method.get("Algorithm") not in known.DIGESTS:
            continue
        digest = hashlib.new(known.DIGESTS[method.get("Algorithm")], form).digest()
        if base64.b64decode(found.findtext(f"{{{DS}}}DigestValue") or "") == digest:
            told.digests += 1
        elif path.name in known.WRONG:
            told.bad_digests += 1
        else:
            told.wrong.append(f"{path.name}: another digest for '{found.get('URI')}'")
