"""Names within and outside of subtrees, and names written in other ways (RFC 5280 §4.2.1.10, §7)."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.pki.chains import asn1
from tests.pki.chains.asn1 import Name, Step
from tests.pki.chains.plan import CONSTRAINTS, SAN, Certificate, Plan

COUNTRY, ORGANISATION, UNIT, COMMON = "2.5.4.6", "2.5.4.10", "2.5.4.11", "2.5.4.3"
MAIL = "1.2.840.113549.1.9.1"

_DOMAINS = (
    "example.com",
    "a.example.com",
    "b.a.example.com",
    "xexample.com",
    "example.org",
    "EXAMPLE.com",
    "*.example.com",
)
_DOMAIN_BASES = (*_DOMAINS[:3], "Example.Com", "com", "", "b.example.com", ".example.com")
_MAILBOXES = ("u@example.com", "v@example.com", "u@a.example.com", "U@EXAMPLE.COM", "u@example.org")
_MAIL_BASES = ("example.com", ".example.com", "u@example.com", "a.example.com", "Example.COM", "example.org")
_URIS = (
    "http://example.com/x",
    "http://a.example.com/",
    "https://u@b.a.example.com:8443/?q",
    "urn:x:1",
    "http://192.0.2.1/",
    "http://example.org",
    "HTTP://A.EXAMPLE.COM",
)
_URI_BASES = ("example.com", ".example.com", "a.example.com", "Example.com", "example.org")
_ADDRESSES = ("c0000201", "c0000301", "20010db8000000000000000000000001", "20010db9" + "0" * 24)
_NETWORKS = (
    "c0000200ffffff00",
    "c0000000ffff0000",
    "0000000000000000",
    "c0000201ffffffff",
    "20010db8" + "0" * 24 + "ffffffff" + "0" * 24,
)


def plain(*texts: tuple[str, str]) -> Name:
    """Return a name of UTF8Strings; a country is printable."""
    return tuple((kind, text, "printable" if kind == COUNTRY else "utf8") for kind, text in texts)


def _directory_names() -> tuple[Name, ...]:
    base = ((COUNTRY, "UT"), (ORGANISATION, "Org One"))
    return (
        plain(*base),
        plain(*base, (UNIT, "Sales")),
        plain(*base, (UNIT, "Sales"), (COMMON, "Leaf")),
        plain(*base, (UNIT, "Stores"), (COMMON, "Leaf")),
        plain((COUNTRY, "UT"), (ORGANISATION, "Org Two"), (COMMON, "Leaf")),
        plain((ORGANISATION, "Org One"), (COMMON, "Leaf")),
        plain((COUNTRY, "UT")),
    )


def rewritten(chance: random.Random, given: Name) -> Name:
    """Return a name that RFC 5280 §7.1 holds for the same: another string type, case, inner space."""
    return tuple(_rewritten_step(chance, each) for each in given)


def _rewritten_step(chance: random.Random, one: Step) -> Step:
    kind, text, form = one
    how = chance.randrange(4)
    if how == 0:
        return kind, text.swapcase(), form
    if how == 1:
        return kind, text.replace(" ", "  "), form
    if how == 2 and form in {"utf8", "printable"}:
        return kind, text, "printable" if form == "utf8" else "utf8"
    return kind, f" {text} " if how == 3 and kind != COUNTRY else text, form


def domain(text: str) -> bytes:
    """Return a dNSName."""
    return asn1.tlv(0x82, text.encode())


def _mailbox(text: str) -> bytes:
    return asn1.tlv(0x81, text.encode())


def _uri(text: str) -> bytes:
    return asn1.tlv(0x86, text.encode())


def _address(text: str) -> bytes:
    return asn1.tlv(0x87, bytes.fromhex(text))


def directory(given: Name) -> bytes:
    """Return a directoryName."""
    return asn1.tlv(0xA4, asn1.name(given))


_Make = Callable[[random.Random], bytes]
_FORMS: dict[str, tuple[_Make, _Make]] = {
    "dns": (
        lambda chance: domain(chance.choice(_DOMAINS)),
        lambda chance: domain(chance.choice(_DOMAIN_BASES)),
    ),
    "mail": (
        lambda chance: _mailbox(chance.choice(_MAILBOXES)),
        lambda chance: _mailbox(chance.choice(_MAIL_BASES)),
    ),
    "uri": (lambda chance: _uri(chance.choice(_URIS)), lambda chance: _uri(chance.choice(_URI_BASES))),
    "ip": (
        lambda chance: _address(chance.choice(_ADDRESSES)),
        lambda chance: _address(chance.choice(_NETWORKS)),
    ),
    "directory": (
        lambda chance: directory(chance.choice(_directory_names())),
        lambda chance: directory(_base(chance)),
    ),
}


def _base(chance: random.Random) -> Name:
    found = chance.choice(_directory_names())
    return rewritten(chance, found) if chance.random() < 0.4 else found


def _subtrees(chance: random.Random, form: str) -> bytes:
    forms = [form] if chance.random() < 0.7 else [form, chance.choice(tuple(_FORMS))]
    return b"".join(asn1.seq(_FORMS[each][1](chance)) for each in forms)


def constrain(chance: random.Random, plan: Plan) -> None:
    """Let authorities constrain names of one form or two, and give the leaf such names."""
    form = chance.choice(tuple(_FORMS))
    for each in chance.sample(plan.authorities, min(len(plan.authorities), chance.choice((1, 1, 2)))):
        if any(kind == CONSTRAINTS for kind, _, _ in each.more):
            continue
        parts = []
        which = chance.choice(("permitted", "excluded", "both"))
        if which != "excluded":
            parts.append(asn1.tlv(0xA0, _subtrees(chance, form)))
        if which != "permitted":
            parts.append(asn1.tlv(0xA1, _subtrees(chance, form)))
        each.more.append((CONSTRAINTS, chance.random() < 0.9, asn1.seq(*parts)))
        plan.notes.append(f"constraints {form} {which}")
    bearer = plan.leaf if chance.random() < 0.85 else chance.choice(plan.chain[1:])
    _bear(chance, bearer, form, plan)


def _bear(chance: random.Random, bearer: Certificate, form: str, plan: Plan) -> None:
    if form == "directory" and chance.random() < 0.7 and bearer is plan.leaf:
        bearer.subject = chance.choice(_directory_names())
        if chance.random() < 0.3:
            bearer.subject = rewritten(chance, bearer.subject)
        return
    if form == "mail" and chance.random() < 0.3 and bearer is plan.leaf:
        bearer.subject = (*bearer.subject, (MAIL, chance.choice(_MAILBOXES), "ia5"))
        plan.notes.append("mail in subject")
        return
    forms = [form] * chance.choice((1, 1, 2)) + [chance.choice(tuple(_FORMS))] * chance.choice((0, 0, 1))
    if chance.random() < 0.1:
        bearer.subject = ()
    alternatives = b"".join(_FORMS[each][0](chance) for each in forms)
    if not any(kind == SAN for kind, _, _ in bearer.more):
        bearer.more.append((SAN, not bearer.subject, asn1.seq(alternatives)))


def spell(chance: random.Random, plan: Plan) -> None:
    """Let a certificate write its issuer's name in another way that means the same."""
    below = chance.choice(plan.chain[1:])
    below.issuer = rewritten(chance, below.issuer_name)
    plan.notes.append("issuer spelt otherwise")


def rename(chance: random.Random, plan: Plan) -> None:
    """Let a certificate name an issuer that is another."""
    below = chance.choice(plan.chain[1:])
    kind, text, form = below.issuer_name[-1]
    how = chance.randrange(4)
    other: Name = (*below.issuer_name[:-1], (kind, text + "x", form))
    if how == 1:
        other = below.issuer_name[:-1]
    elif how == 2:
        other = (*below.issuer_name, (COMMON, "more", "utf8"))
    elif how == 3:
        other = tuple(reversed(below.issuer_name))
    below.issuer = other
    plan.notes.append("issuer is another")
