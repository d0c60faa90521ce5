"""What may go wrong with the certificates of a path, one thing at a time (RFC 5280 §6.1)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from tests.pki.chains import asn1, names, policies
from tests.pki.chains.plan import AKI, AT, BASIC, BEGIN, EKU, END, USAGE, Certificate, Plan

_SECOND = timedelta(seconds=1)
_UNKNOWN = "1.3.6.1.4.1.99999.7"
Change = Callable[[random.Random, Plan], None]


def start(chance: random.Random) -> Plan:
    """Return a path without a fault, of an anchor, up to five authorities, and a leaf."""
    depth = chance.choice((1, 1, 2, 2, 2, 3, 3, 4, 5, 6))
    plan = Plan([])
    # Keys of both kinds stand in every place.
    plan.keys = chance.randrange(12)
    above = None
    for place in range(depth + 1):
        leaf = place == depth
        common = (names.COMMON, "Leaf" if leaf else f"Authority {place}")
        subject = names.plain((names.COUNTRY, "UT"), (names.ORGANISATION, "Org One"), common)
        above = Certificate(
            subject,
            above,
            plan.new_key(),
            serial=chance.randrange(1, 1 << 62),
            authority=not leaf,
            basic=not leaf or chance.random() < 0.5,
        )
        if leaf:
            above.usage = {0}
        plan.chain.append(above)
    return plan


def time(chance: random.Random, plan: Plan) -> None:
    """Set the time of a certificate, or ask at its very first or last second, or one beside."""
    each = chance.choice(plan.chain)
    how = chance.choice(("expired", "future", "first", "last", "before", "after"))
    if how in {"expired", "future"}:
        each.not_before, each.not_after = (
            (BEGIN, AT - timedelta(days=1)) if how == "expired" else (AT + timedelta(days=1), END)
        )
    elif how in {"first", "before"}:
        each.not_before = AT if how == "first" else AT + _SECOND
    else:
        each.not_after = AT if how == "last" else AT - _SECOND
    plan.notes.append(f"time {how}{' of anchor' if each is plan.chain[0] else ''}")


def basic(chance: random.Random, plan: Plan) -> None:
    """Spoil or drop the basic constraints of an authority, or make the leaf one."""
    each = chance.choice(plan.chain[1:])
    how = chance.choice(("absent", "not a CA", "not critical", "version 1", "leaf"))
    if how == "leaf":
        plan.leaf.basic, plan.leaf.authority = True, True
        plan.leaf.usage = {0, 5, 6}
    elif how == "absent":
        each.basic = False
    elif how == "not a CA":
        each.basic, each.authority = True, False
    elif how == "not critical":
        each.basic_critical = False
    else:
        each.version = 1
    plan.notes.append(f"basic {how}{' at the end' if each is plan.leaf else ''}")


def length(chance: random.Random, plan: Plan) -> None:
    """Limit the length of the path, below any authority."""
    for each in chance.sample(plan.authorities, chance.choice((1, min(2, len(plan.authorities))))):
        each.path_length = chance.randrange(0, len(plan.chain))
    plan.notes.append("length")


def usage(chance: random.Random, plan: Plan) -> None:
    """Change what the key of a certificate is for."""
    each = chance.choice(plan.chain)
    each.usage = chance.choice((None, {6}, {0}, {0, 5}, {5}))
    plan.notes.append(f"usage {each.usage}{' of anchor' if each is plan.chain[0] else ''}")


def extended(chance: random.Random, plan: Plan) -> None:
    """Give a certificate extended key usages."""
    each = chance.choice(plan.chain[1:])
    if any(kind == EKU for kind, _, _ in each.more):
        return
    kinds = chance.sample(("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.4", "2.5.29.37.0", "1.3.6.1.5.5.7.3.8"), 1)
    each.more.append((EKU, chance.random() < 0.5, asn1.seq(*map(asn1.oid, kinds))))
    plan.notes.append("extended usage")


def extension(chance: random.Random, plan: Plan) -> None:
    """Add an extension that nobody knows, or one twice."""
    each = chance.choice(plan.chain)
    how = chance.choice(("unknown critical", "unknown", "twice"))
    if how == "twice":
        again = chance.choice(
            ((BASIC, True, asn1.seq(asn1.boolean(value=True))), (USAGE, True, asn1.flags({5})))
        )
        each.more.append(again)
    else:
        each.more.append((_UNKNOWN, how == "unknown critical", asn1.octets(b"x")))
    plan.notes.append(f"extension {how}{' of anchor' if each is plan.chain[0] else ''}")


def identifiers(chance: random.Random, plan: Plan) -> None:
    """Let key identifiers differ, be absent, or name another issuer and serial number."""
    each = chance.choice(plan.chain[1:])
    how = chance.choice(
        ("aki other", "aki none", "ski none", "ski other", "issuer and serial", "other serial")
    )
    if how == "aki other":
        each.aki = b"another key"
    elif how == "aki none":
        each.aki = None
    elif how.startswith("ski"):
        above = each.parent or each
        above.ski = None if how == "ski none" else b"a name of its own"
    else:
        above = each.parent or each
        grand = asn1.tlv(0xA1, names.directory(above.issuer_name))
        serial = above.serial + (how == "other serial")
        each.aki = None
        each.more.append((AKI, False, asn1.seq(grand, asn1.integer(serial, 0x82))))
    plan.notes.append(how)


def signature(chance: random.Random, plan: Plan) -> None:
    """Spoil a signature, make it with another key, or tell another algorithm inside."""
    each = chance.choice(plan.chain[1:])
    how = chance.choice(("spoilt", "another key", "another algorithm inside"))
    if how == "spoilt":
        each.spoilt = True
    elif how == "another key":
        each.signer = plan.new_key()
        each.aki = (each.parent or each).identifier
    else:
        each.told_algorithm = asn1.seq(asn1.oid("1.2.840.10045.4.3.3"))
    plan.notes.append(f"signature {how}")


def self_issued(chance: random.Random, plan: Plan) -> None:
    """Let an authority certify a new key of its own, once or twice."""
    for _ in range(chance.choice((1, 1, 2))):
        place = chance.randrange(1, len(plan.chain))
        above, below = plan.chain[place - 1], plan.chain[place]
        again = Certificate(above.subject, above, plan.new_key(), serial=chance.randrange(1, 1 << 62))
        plan.chain.insert(place, again)
        below.parent = again
    plan.notes.append("self-issued")


def self_issued_leaf(_chance: random.Random, plan: Plan) -> None:
    """Let the leaf bear the name of its issuer."""
    plan.leaf.subject = plan.chain[-2].subject
    plan.notes.append("self-issued leaf")


def several(chance: random.Random, plan: Plan) -> None:
    """Put others of the same names beside the path: elsewhere certified, expired, or with other keys."""
    if len(plan.chain) < 3:
        return
    for _ in range(chance.choice((1, 2, 3))):
        each = chance.choice(plan.chain[1:-1])
        how = chance.choice(("expired", "other key", "by another", "loop", "good twin"))
        twin = replace(each, serial=chance.randrange(1, 1 << 62), more=list(each.more))
        if how == "expired":
            twin.not_after = AT - timedelta(days=9)
        elif how == "other key":
            twin.key = plan.new_key()
            twin.ski = each.identifier if chance.random() < 0.5 else b"auto"
        elif how == "by another":
            foreign = Certificate(names.plain((names.COMMON, "Foreign")), None, plan.new_key(), serial=5)
            twin.parent = foreign
            plan.beside.append(foreign)
        elif how == "loop":
            twin.parent = plan.chain[chance.randrange(plan.chain.index(each), len(plan.chain) - 1)]
        plan.beside.append(twin)
        plan.notes.append(f"beside: {how}")
    chance.shuffle(plan.beside)


def both_ways(chance: random.Random, plan: Plan) -> None:
    """Put a good twin beside an authority that is not, so that only another path leads up."""
    if len(plan.chain) < 3:
        return
    each = chance.choice(plan.chain[1:-1])
    plan.beside.append(replace(each, serial=chance.randrange(1, 1 << 62), more=list(each.more)))
    chance.choice((_expire, _shorten, _forbid))(each)
    plan.notes.append("only a twin is good")


def _expire(each: Certificate) -> None:
    each.not_after = AT - timedelta(days=3)


def _shorten(each: Certificate) -> None:
    each.basic = False


def _forbid(each: Certificate) -> None:
    each.usage = {6}


CHANGES: tuple[tuple[Change, int], ...] = (
    (time, 3),
    (basic, 3),
    (length, 4),
    (usage, 2),
    (extended, 1),
    (extension, 2),
    (identifiers, 3),
    (signature, 2),
    (self_issued, 4),
    (self_issued_leaf, 1),
    (several, 3),
    (both_ways, 2),
    (names.constrain, 10),
    (names.spell, 2),
    (names.rename, 1),
    (policies.govern, 8),
)
