"""Certificate policies by chance: names, mappings, constraints, and what a relying party asks."""

from __future__ import annotations

import random

from tests.pki.chains import asn1
from tests.pki.chains.asn1 import ANY_POLICY
from tests.pki.chains.plan import INHIBIT_ANY, MAPPINGS, POLICIES, POLICY_CONSTRAINTS, Certificate, Plan

_KNOWN = tuple(f"1.3.6.1.4.1.99999.1.{number}" for number in range(1, 5))
_UNSPOKEN = ((), (), (), (0,), (1,), (2,))


def govern(chance: random.Random, plan: Plan) -> None:
    """Give every certificate policies, some of them mappings and constraints, and ask for some."""
    if "policies" in plan.notes:
        return
    common = chance.choice(_KNOWN)
    for each in plan.chain[1:]:
        _name(chance, each, common)
        if each is not plan.leaf:
            _map(chance, plan, each, common)
        _constrain(chance, plan, each)
    if chance.random() < 0.1:
        _constrain(chance, plan, plan.chain[0], always=True)
    _ask(chance, plan, common)


def _name(chance: random.Random, each: Certificate, common: str) -> None:
    if chance.random() < 0.08:
        return
    named = {common} if chance.random() < 0.8 else set()
    named |= {one for one in _KNOWN if chance.random() < 0.25}
    if chance.random() < 0.25:
        named = {ANY_POLICY} if chance.random() < 0.6 else named | {ANY_POLICY}
    if named:
        written = chance.sample(sorted(named), len(named))
        value = asn1.seq(*(asn1.seq(asn1.oid(one)) for one in written))
        each.more.append((POLICIES, chance.random() < 0.5, value))


def _map(chance: random.Random, plan: Plan, each: Certificate, common: str) -> None:
    if chance.random() < 0.65:
        return
    pairs = {
        (chance.choice((common, *_KNOWN)), chance.choice(_KNOWN)) for _ in range(chance.choice((1, 1, 2)))
    }
    if chance.random() < 0.04:
        pairs = {chance.choice(((ANY_POLICY, common), (common, ANY_POLICY)))}
    value = asn1.seq(*(asn1.seq(asn1.oid(one), asn1.oid(other)) for one, other in sorted(pairs)))
    each.more.append((MAPPINGS, chance.random() < 0.5, value))
    plan.notes.append("mapping")


def _constrain(chance: random.Random, plan: Plan, each: Certificate, *, always: bool = False) -> None:
    if always or chance.random() < 0.25:
        explicit, mapping = chance.choice(_UNSPOKEN), chance.choice(_UNSPOKEN)
        if explicit or mapping:
            parts = [asn1.integer(one, 0x80) for one in explicit]
            parts += [asn1.integer(one, 0x81) for one in mapping]
            each.more.append((POLICY_CONSTRAINTS, True, asn1.seq(*parts)))
            plan.notes.append("policy constraints")
    if chance.random() < 0.15:
        each.more.append((INHIBIT_ANY, True, asn1.integer(chance.choice((0, 0, 1, 2)))))
        plan.notes.append("inhibit any")


def _ask(chance: random.Random, plan: Plan, common: str) -> None:
    plan.notes.append("policies")
    if chance.random() < 0.5:
        plan.options["policy"] = sorted(
            {chance.choice((common, *_KNOWN)) for _ in range(chance.choice((1, 2)))}
        )
    for name, share in (("require_explicit_policy", 0.5), ("inhibit_mapping", 0.15), ("inhibit_any", 0.15)):
        if chance.random() < share:
            plan.options[name] = True
