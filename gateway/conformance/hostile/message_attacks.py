"""Attacks on one ebMS 2.0 message, by who can make them: anybody on the way, or the sender himself.

Who changes a message on the way has no key; the sender has, and signs what nobody may
sign, so that the one thing that is wrong is the only thing that can be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, cast

from gateway.conformance.hostile.attack_case import AttackCase, Scenario
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import Answer, Exchange, Expectation
from gateway.conformance.hostile.scenarios import RequestMaker, expect_refusal
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    mutate_tree,
    recompute_envelope_digest,
    recompute_signature,
    recompute_written_digests,
)

__all__ = [
    "CID",
    "ENVELOPE_REFERENCE",
    "TRANSFORMS",
    "make_attack_case",
    "make_sender_attack",
    "make_single_scenario",
    "make_transit_attack",
]

#: Paths in a signed envelope: the reference to it, its transforms, the reference to the first payload.
ENVELOPE_REFERENCE: Final = "//ds:SignedInfo/ds:Reference[@URI='']"
TRANSFORMS: Final = f"{ENVELOPE_REFERENCE}/ds:Transforms"
CID: Final = "//ds:SignedInfo/ds:Reference[starts-with(@URI, 'cid:p1')]"

#: How the digests of a message are made right again: as the standard means its transforms, or as written.
_DIGESTS: Final[dict[str, tuple[TreeMutation, ...]]] = {
    "meant": (recompute_envelope_digest,),
    "written": (recompute_written_digests,),
    "none": (),
}


def make_single_scenario(make: RequestMaker, expected: Expectation) -> Scenario:
    """Return the play of one request."""

    def run_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
        yield Exchange(make(bench), expected)

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


def make_transit_attack(
    name: str,
    title: str,
    change: TreeMutation | Callable[[Any], TreeMutation],
    expected: str | Expectation,
    source: str,
    *,
    of_bench: bool = False,
    member: str = "a",
    naive: bool = False,
) -> AttackCase:
    """Return: an honest message whose envelope is changed after it was signed.

    `of_bench`: the change is made of the bench.
    """

    def make_request(bench: AttackerKit) -> Any:
        done = cast("TreeMutation", change(cast("Any", bench))) if of_bench else change
        return bench.build_message(member=member, tampered=mutate_tree(done))

    return make_attack_case(name, title, make_request, expected, source, naive=naive)


def make_sender_attack(
    name: str,
    title: str,
    change: TreeMutation,
    expected: str | Expectation,
    source: str,
    *,
    digests: str = "meant",
    member: str = "a",
    naive: bool = False,
) -> AttackCase:
    """Return: a message that the sender has changed and signed again, its `digests` right again as well."""

    def make_request(bench: AttackerKit) -> Any:
        again = recompute_signature(bench.get_signer(member))
        return bench.build_message(member=member, tampered=mutate_tree(change, *_DIGESTS[digests], again))

    return make_attack_case(name, title, make_request, expected, source, naive=naive)
