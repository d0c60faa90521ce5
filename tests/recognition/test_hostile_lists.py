"""Lists and vouched documents that an expected signer made wrong: read or refused, never a crash."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.recognition import open_trusted_list, open_vouched_document
from gateway.wire import DS, parse_xml, serialize_element
from gateway.xmlsec import sign_document
from tests.recognition.sample_lists import (
    GRANTED,
    NOW,
    WITHDRAWN,
    agreement,
    country,
    etsi_list,
    etsi_service,
    own_list,
    past_state,
    pointer,
)
from tests.recognition.test_own_trusted_list import FULL
from tests.recognition.test_vouched_document import made

ZED = country("Zed")
WORDS = (
    "",
    "x",
    "9999-99-99T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "-1",
    "99999999999",
    "\x85",
    "AAAA",
    "\u0663",
)
WELL = {
    "own": own_list(FULL)[0],
    "etsi": etsi_list(
        "EU",
        "Zed",
        [etsi_service(ZED.authority.certificate, [(WITHDRAWN, 10), (GRANTED, 90)])],
        [
            pointer(
                "ZZ",
                ZED.operator.certificate,
                agreement(history=past_state("http://ec.europa.eu/tools/lotl/mra/enacted", 90)),
            )
        ],
        of_lists=True,
    ),
    "vouched": made(),
}


def altered(root: etree._Element, chance: random.Random) -> None:
    """Take something out, put something in twice, or write something else."""
    element = chance.choice(list(root.iter()))
    parent, kind = element.getparent(), chance.randrange(5)
    if kind == 0 or parent is None:
        element.text = chance.choice(WORDS)
    elif kind == 1 and element.attrib:
        element.set(chance.choice(element.keys()), chance.choice(WORDS))
    elif kind == 2 and element.attrib:
        del element.attrib[chance.choice(element.keys())]
    elif kind == 3:
        parent.append(deepcopy(element))
    else:
        parent.remove(element)


@pytest.mark.parametrize("name", WELL)
def test_signed_nonsense_is_read_or_refused(name: str) -> None:
    pins = {ZED.operator.certificate}
    readers: dict[str, Callable[[bytes], object]] = {"vouched": open_vouched_document}
    read = readers.get(name, lambda data: open_trusted_list(data, pins))
    chance = random.Random(name)
    seen = set()
    for _ in range(150):
        root = parse_xml(WELL[name])
        signature = root.find(f"{{{DS}}}Signature")
        assert signature is not None
        root.remove(signature)
        for _ in range(chance.randint(1, 3)):
            altered(root, chance)
        data = serialize_element(sign_document(root, ZED.operator.signer, now=NOW))
        try:
            read(data)
        except GatewayError as refusal:
            seen.add(refusal.problem.id)
        else:
            seen.add("read")
    assert {"read", "GW402"} <= seen
