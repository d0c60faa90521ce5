"""What may go wrong with lists and responses, one thing at a time (RFC 5280 §5, §6.3, RFC 6960)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

from tests.pki.chains import asn1, names
from tests.pki.chains.plan import (
    AT,
    EKU,
    FRESHEST,
    NEXT,
    POINTS,
    THIS,
    Answer,
    Certificate,
    Entry,
    Plan,
    RevocationList,
)

_REASONS = (None, 0, 1, 3, 4, 5, 6, 8, 9, 10)
_UNKNOWN = "1.3.6.1.4.1.99999.8"
_OCSP, _NO_CHECK = "1.3.6.1.5.5.7.3.9", "1.3.6.1.5.5.7.48.1.5"
_ONLY_USERS, _ONLY_AUTHORITIES, _ONLY_ATTRIBUTES = 0x81, 0x82, 0x85


def publish(_chance: random.Random, plan: Plan) -> None:
    """Let every authority of the path publish a list."""
    plan.revocation = "require"
    spoken: dict[bytes, RevocationList] = {}
    for each in plan.authorities:
        # The newest key of an authority signs for all of its name.
        spoken[asn1.name(each.subject)] = RevocationList(each)
    plan.lists = list(spoken.values())


def _pick(chance: random.Random, plan: Plan) -> RevocationList:
    return plan.lists[-1] if chance.random() < 0.6 else chance.choice(plan.lists)


def _below(plan: Plan, which: RevocationList) -> Certificate:
    """Return the certificate of the path that a list speaks of."""
    found = [each for each in plan.chain[1:] if each.parent is which.issuer]
    return found[0] if found else plan.leaf


def missing(chance: random.Random, plan: Plan) -> None:
    """Put in the place of a list one of somebody else, so that it is missing."""
    gone = _pick(chance, plan)
    other = Certificate(names.plain((names.COMMON, "Nobody")), None, plan.new_key(), 1)
    plan.lists[plan.lists.index(gone)] = RevocationList(other)
    plan.notes.append("list missing")


def stale(chance: random.Random, plan: Plan) -> None:
    """Set the time of a list, or ask at its very first or last second, or one beside."""
    each = _pick(chance, plan)
    how = chance.choice(("expired", "future", "first", "last", "before", "after", "endless"))
    second = timedelta(seconds=1)
    if how in {"future", "first", "before"}:
        late = {"future": timedelta(days=2), "first": 0 * second, "before": second}
        each.this = AT + late[how]
    elif how == "endless":
        each.next = None
    else:
        each.next = AT - {"expired": timedelta(days=2), "last": 0 * second, "after": second}[how]
    plan.notes.append(f"list {how}")


def foreign(chance: random.Random, plan: Plan) -> None:
    """Let a list come from somebody else, or be signed wrongly."""
    each = _pick(chance, plan)
    how = chance.choice(("name", "spelt otherwise", "key", "spoilt", "aki", "aki none", "may not sign lists"))
    if how == "name":
        each.name = (*each.issuer.subject[:-1], (names.COMMON, "Somebody", "utf8"))
    elif how == "spelt otherwise":
        each.name = names.rewritten(chance, each.issuer.subject)
    elif how == "key":
        each.signer, each.aki = plan.new_key(), each.issuer.identifier
    elif how == "spoilt":
        each.spoilt = True
    elif how == "may not sign lists":
        each.issuer.usage = {5}
    else:
        each.aki = b"another" if how == "aki" else None
    plan.notes.append(f"list by {how}")


def revoke(chance: random.Random, plan: Plan) -> None:
    """Put a certificate on its issuer's list, or one beside it."""
    each = _pick(chance, plan)
    below = _below(plan, each)
    reason = chance.choice(_REASONS)
    when = chance.choice((THIS, THIS, AT, AT - timedelta(days=400), AT + timedelta(days=1)))
    other = chance.random() < 0.25
    each.entries.append(Entry(below.serial + other, when, reason))
    late = " later" if when > AT else ""
    plan.notes.append(f"list {'of another' if other else 'revokes'} {reason}{late}")


def odd(chance: random.Random, plan: Plan) -> None:
    """Put an extension that nobody knows on a list or an entry."""
    each = _pick(chance, plan)
    how = chance.choice(("critical", "harmless", "critical entry", "harmless entry", "critical entry of it"))
    added = (_UNKNOWN, how.startswith("critical"), asn1.octets(b"x"))
    if "entry" in how:
        serial = _below(plan, each).serial if how.endswith("of it") else 77
        each.entries.append(Entry(serial, more=[added]))
    else:
        each.more.append(added)
    plan.notes.append(f"list extension {how}")


def scope(chance: random.Random, plan: Plan) -> None:
    """Let a list be of one kind of certificates only."""
    each = _pick(chance, plan)
    tag = chance.choice((_ONLY_USERS, _ONLY_AUTHORITIES, _ONLY_ATTRIBUTES))
    each.point = asn1.seq(asn1.boolean(value=True, tag=tag))
    if chance.random() < 0.4:
        plan.lists.append(RevocationList(each.issuer, number=11))
    kinds = {_ONLY_USERS: "users", _ONLY_AUTHORITIES: "authorities", _ONLY_ATTRIBUTES: "attributes"}
    plan.notes.append(f"list only {kinds[tag]}")


def _point_name(chance: random.Random) -> bytes:
    found = chance.choice(("One", "Two", "one"))
    if chance.random() < 0.3:
        return asn1.tlv(0x86, f"urn:list:{found}".encode())
    return names.directory(names.plain((names.ORGANISATION, "Lists"), (names.COMMON, found)))


def _full(*general: bytes) -> bytes:
    return asn1.tlv(0xA0, asn1.tlv(0xA0, *general))


def points(chance: random.Random, plan: Plan) -> None:
    """Cut lists by distribution points, names right or not, and by reasons."""
    each = _pick(chance, plan)
    below = _below(plan, each)
    named = _point_name(chance)
    reasons = chance.random() < 0.4
    own = asn1.flags({1, 3}, 0x81) if reasons and chance.random() < 0.5 else b""
    if chance.random() < 0.85:
        below.more.append((POINTS, False, asn1.seq(asn1.seq(_full(named), own))))
    told = named if chance.random() < 0.7 else _point_name(chance)
    parts = [_full(told)] if chance.random() < 0.85 else []
    if reasons:
        first, rest = asn1.flags({1, 3}, 0x83), asn1.flags({2, 4, 5, 6, 7, 8}, 0x83)
        if chance.random() < 0.7:
            second = RevocationList(each.issuer, number=12, point=asn1.seq(*parts, rest))
            plan.lists.append(second)
            if chance.random() < 0.3:
                second.entries.append(Entry(below.serial, reason=5))
        parts.append(first)
    # An empty one is no extension at all (§5.2.5).
    each.point = asn1.seq(*parts) if parts else None
    if chance.random() < 0.2:
        each.entries.append(Entry(below.serial, reason=1))
    plan.notes.append(f"points{' by reasons' if reasons else ''}")


def indirect(chance: random.Random, plan: Plan) -> None:
    """Let somebody else publish the list, by the certificate's word or without it."""
    each = _pick(chance, plan)
    below, issuer = _below(plan, each), each.issuer
    top = plan.chain[0]
    name = (*top.subject[:-1], (names.COMMON, "Lists", "utf8"))
    other = Certificate(name, top, plan.new_key(), chance.randrange(1, 1 << 62), authority=False)
    other.basic, other.usage = False, {6}
    plan.beside.append(other)
    pointed, marked = chance.random() < 0.85, chance.random() < 0.85
    if pointed:
        who = asn1.tlv(0xA2, names.directory(other.subject))
        below.more.append((POINTS, False, asn1.seq(asn1.seq(who))))
    listed = RevocationList(other, point=asn1.seq(asn1.boolean(value=True, tag=0x84)) if marked else None)
    how = chance.choice(("clear", "it", "it without its issuer", "after another", "another of its number"))
    if how == "it":
        listed.entries = [Entry(below.serial, issuer=issuer.subject)]
    elif how == "it without its issuer":
        listed.entries = [Entry(below.serial)]
    elif how == "after another":
        listed.entries = [Entry(3, issuer=issuer.subject), Entry(below.serial)]
    elif how == "another of its number":
        listed.entries = [Entry(below.serial, issuer=name)]
    if not marked:
        listed.entries = [Entry(one.serial) for one in listed.entries]
    plan.lists.append(listed)
    if chance.random() < 0.8:
        plan.lists.remove(each)
    # The one who publishes has a status too, by the list of who certified it.
    if not any(one.issuer is top for one in plan.lists):
        plan.lists.append(RevocationList(top))
    plan.notes.append(
        f"indirect{'' if pointed else ', not pointed to'}{'' if marked else ', not marked'}: {how}"
    )


def changes(chance: random.Random, plan: Plan) -> None:
    """Add a list of changes to a complete one."""
    each = _pick(chance, plan)
    below = _below(plan, each)
    held = chance.choice((None, 6, 6, 1))
    if held is not None:
        each.entries.append(Entry(below.serial, reason=held))
    base = chance.choice((10, 10, 9, 11))
    delta = RevocationList(each.issuer, number=base + chance.choice((1, 2, 0)), base=base)
    delta.this = chance.choice((THIS + timedelta(days=3), THIS, AT + timedelta(days=1)))
    delta.next = chance.choice((NEXT, NEXT, AT - timedelta(days=1)))
    word = chance.choice((None, 8, 8, 1))
    if word is not None:
        delta.entries.append(Entry(below.serial, reason=word))
    if not any(kind == FRESHEST for kind, _, _ in below.more):
        # Some look for changes only where a certificate sends them to some.
        below.more.append((FRESHEST, False, asn1.seq(asn1.seq(_full(_point_name(chance))))))
    delta.spoilt = chance.random() < 0.1
    plan.lists.append(delta)
    plan.notes.append(f"changes: {held} then {word}, {delta.base} to {delta.number}")


LIST_CHANGES = (
    (missing, 1),
    (stale, 2),
    (foreign, 3),
    (revoke, 4),
    (odd, 2),
    (scope, 2),
    (points, 3),
    (indirect, 3),
    (changes, 3),
)


def answer(chance: random.Random, plan: Plan) -> None:
    """Let responses speak of every certificate in place of lists, one of them perhaps oddly."""
    plan.revocation, plan.lists = "require", []
    plan.answers = [
        Answer(below, above, above) for above, below in zip(plan.chain, plan.chain[1:], strict=False)
    ]
    last = plan.answers[-1]
    if chance.random() < 0.5:
        _delegate(chance, plan, last)
    for _ in range(chance.choice((0, 1, 1, 2))):
        _disturb(chance, plan, last)
    plan.notes.append("responses")


def _delegate(chance: random.Random, plan: Plan, last: Answer) -> None:
    name = (*last.issuer.subject[:-1], (names.COMMON, "Responder", "utf8"))
    certifier = last.issuer if chance.random() < 0.85 else plan.chain[0]
    named = Certificate(name, certifier, plan.new_key(), chance.randrange(1, 1 << 62), authority=False)
    named.basic, named.usage = False, {0}
    kind = _OCSP if chance.random() < 0.85 else chance.choice(("1.3.6.1.5.5.7.3.1", "2.5.29.37.0"))
    named.more.append((EKU, False, asn1.seq(asn1.oid(kind))))
    if chance.random() < 0.8:
        named.more.append((_NO_CHECK, False, b"\x05\x00"))
    else:
        plan.notes.append("responder without no-check")
    if chance.random() < 0.1:
        named.not_after = AT - timedelta(days=1)
        plan.notes.append("responder expired")
    last.responder, last.by_key = named, chance.random() < 0.5
    if chance.random() < 0.9:
        last.along = [named]
    direct = "" if certifier is last.issuer else " of another"
    plan.notes.append(f"responder{direct}{'' if kind == _OCSP else ' for something else'}")


def _disturb(chance: random.Random, plan: Plan, last: Answer) -> None:
    disturbances: dict[str, Callable[[], None]] = {
        "revoked": lambda: setattr(last, "status", "revoked"),
        "unknown": lambda: setattr(last, "status", "unknown"),
        "expired": lambda: setattr(last, "next", AT - timedelta(days=2)),
        "future": lambda: setattr(last, "this", AT + timedelta(days=2)),
        "endless": lambda: setattr(last, "next", None),
        "spoilt": lambda: setattr(last, "spoilt", True),
        "other serial": lambda: setattr(last, "serial", last.about.serial + 1),
        "other responder": lambda: setattr(last, "named", plan.leaf),
        "key": lambda: setattr(last, "signer", plan.new_key()),
        "sha256": lambda: setattr(last, "digest", "sha256"),
        "nonce": lambda: setattr(last, "nonce", b"0123456789abcdef"),
        "critical": lambda: last.more.append((_UNKNOWN, True, b"\x05\x00")),
        "critical single": lambda: last.single.append((_UNKNOWN, True, b"\x05\x00")),
        "by name": lambda: setattr(last, "by_key", False),
    }
    how = chance.choice(tuple(disturbances))
    disturbances[how]()
    plan.notes.append(f"response {how}")
