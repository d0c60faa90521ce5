"""Attacks on one ebMS 2.0 message, by who can make them: anybody on the way, or the sender himself.

Who changes a message on the way has no key; the sender has, and signs what nobody may
sign, so that the one thing that is wrong is the only thing that can be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.conformance.hostile.alterations import (
    Alteration,
    digest_again,
    digest_as_written,
    on_tree,
    sign_again,
)
from gateway.conformance.hostile.case import Answer, Case, Exchange, Expected, Play
from gateway.conformance.hostile.plays import Maker, refusal

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CID", "ENVELOPE_REFERENCE", "TRANSFORMS", "attack", "by_sender", "on_the_way", "playing"]

#: Paths in a signed envelope: the reference to it, its transforms, the reference to the first payload.
ENVELOPE_REFERENCE: Final = "//ds:SignedInfo/ds:Reference[@URI='']"
TRANSFORMS: Final = f"{ENVELOPE_REFERENCE}/ds:Transforms"
CID: Final = "//ds:SignedInfo/ds:Reference[starts-with(@URI, 'cid:p1')]"

#: How the digests of a message are made right again: as the standard means its transforms, or as written.
_DIGESTS: Final[dict[str, tuple[Alteration, ...]]] = {
    "meant": (digest_again,),
    "written": (digest_as_written,),
    "none": (),
}


def playing(make: Maker, expected: Expected) -> Play:
    """Return the play of one request."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        yield Exchange(make(bench), expected)

    return play


def attack(
    name: str,
    title: str,
    make: Maker,
    expected: str | Expected,
    source: str,
    *,
    face: str = "ebms2",
    feature: str = "",
    naive: bool = False,
) -> Case:
    """Return a case of one request; `expected` may be the id of the problem that refuses it."""
    must = refusal(*expected.split()) if isinstance(expected, str) else expected
    return Case(name, title, face, source, playing(make, must), feature, naive)


def on_the_way(
    name: str,
    title: str,
    change: Alteration | Callable[[Any], Alteration],
    expected: str | Expected,
    source: str,
    *,
    of_bench: bool = False,
    member: str = "a",
    naive: bool = False,
) -> Case:
    """Return: an honest message whose envelope is changed after it was signed.

    `of_bench`: the change is made of the bench.
    """

    def make(bench: Bench) -> Any:
        done = cast("Alteration", change(cast("Any", bench))) if of_bench else change
        return bench.message(member=member, tampered=on_tree(done))

    return attack(name, title, make, expected, source, naive=naive)


def by_sender(
    name: str,
    title: str,
    change: Alteration,
    expected: str | Expected,
    source: str,
    *,
    digests: str = "meant",
    member: str = "a",
    naive: bool = False,
) -> Case:
    """Return: a message that the sender has changed and signed again, its `digests` right again as well."""

    def make(bench: Bench) -> Any:
        again = sign_again(bench.signer(member))
        return bench.message(member=member, tampered=on_tree(change, *_DIGESTS[digests], again))

    return attack(name, title, make, expected, source, naive=naive)
