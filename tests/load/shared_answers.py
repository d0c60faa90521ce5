"""A submission of very many applications that share answers, and how its split grows with them."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from functools import cache
from types import FrameType
from typing import Any

from lxml import etree

from gateway.harmonize import index_submission, make_placeholder_numbers, write_requests
from gateway.wire import serialize_element
from tests.kit.filling import SUB, shipped
from tests.load import splitting

#: Two documents of one agency that share answers; the second gives none that the first gives.
DOCUMENTS = ("KFDA-HFF-IMP", "KFDA-FOOD-IMP")


@cache
def submission(applications: int) -> bytes:
    """Return a submission of one goods item with so many applications; half of them borrow their answers."""
    root = etree.fromstring(splitting.submission(1, DOCUMENTS))
    giver, taker = root.findall(f"{SUB}Application")
    given = {etree.QName(one).localname for one in giver.iter(etree.Element)}
    shared = {ask.tag for ask in shipped().documents[DOCUMENTS[1]].asks if ask.shared} & given
    borrowed = [one for one in taker.iter(etree.Element) if etree.QName(one).localname in shared]
    assert borrowed, "nothing is shared"
    for one in borrowed:
        one.getparent().remove(one)  # type: ignore[union-attr]
    for number in range(2, applications // 2 + 1):
        for kind, one in (("G", giver), ("T", taker)):
            twin = copy.deepcopy(one)
            twin.set("id", f"{kind}{number}")
            root.append(twin)
    return serialize_element(root)


def count_calls(octets: bytes) -> int:
    """Return how many functions of Python are called to write the requests of a submission."""
    root, calls = etree.fromstring(octets), 0
    facts, numbers = index_submission(root, keeps_fields=False), make_placeholder_numbers(root)

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        made = write_requests(facts, shipped(), numbers)
    finally:
        sys.setprofile(None)
    assert not made.problems, made.problems[:3]
    assert len(made.requests) == len(facts.applications)
    return calls


def measure(turns: int) -> Mapping[str, Any]:
    """Time the split of 250 and of 1000 applications; `shared_growth` is 1 where it is linear."""
    found = {}
    for applications in (250, 1000):
        root = etree.fromstring(submission(applications))
        numbers = make_placeholder_numbers(root)
        found[applications] = splitting.find_best(
            lambda root=root, numbers=numbers: write_requests(index_submission(root), shipped(), numbers),
            turns,
        )
    return {
        "shared_250_ms": found[250],
        "shared_1000_ms": found[1000],
        "shared_growth": found[1000] / found[250] / 4,
    }
