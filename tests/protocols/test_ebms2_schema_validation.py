"""The strict reader takes the place of a schema: the original one gives a second opinion."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.message_model import ErrorEntry, ErrorSignal, Ping, Receipt, StatusRequest, StatusResponse, Unit
from gateway.protocols import build_envelope_tree, ebms2
from gateway.protocols.ebms2.header_blocks import read_header_blocks
from gateway.protocols.ebms2.message_units import MessageContent, make_units
from gateway.protocols.ebms2.packaging import read_soap_body
from gateway.wire import EB, serialize_element
from tests.protocols import sample_parties

ASKING = (
    "q-1@broker.example",
    "c-1",
    sample_parties.FROM_BROKER,
    sample_parties.FROM_HUB,
    "agreement-1",
    sample_parties.NOW,
)
UNITS: list[Unit] = [
    sample_parties.message(description="words", ref_to_message_id="m-0@x", payloads=()),
    sample_parties.message(),
    Receipt(
        *ASKING,
        ref_to_message_id="m@x",
        received_at=sample_parties.NOW,
        acting_party=sample_parties.FROM_BROKER,
    ),
    ErrorSignal(*ASKING, ref_to_message_id="m@x", errors=(ErrorEntry("Unknown", "Error", "place", "words"),)),
    Ping(*ASKING, sync_reply=True),
    StatusRequest(*ASKING, queried_message_id="m@x"),
    StatusResponse(
        *ASKING,
        ref_to_message_id="m@x",
        queried_message_id="n@x",
        status="Received",
        received_at=sample_parties.NOW,
    ),
]
Change = Callable[[etree._Element], object]


@pytest.fixture(scope="module")
def schema(vectors: Path) -> etree.XMLSchema:
    path = vectors / "outside" / "xsd" / "msg-header-2_0.xsd"
    return etree.XMLSchema(etree.parse(str(path), etree.XMLParser(no_network=True)))


def valid(schema: etree.XMLSchema, root: etree._Element) -> bool:
    """Return whether every ebMS element of an envelope is valid by itself."""
    blocks = [one for part in root for one in part if str(one.tag).startswith(f"{{{EB}}}")]
    return all(schema.validate(etree.fromstring(etree.tostring(one, with_tail=False))) for one in blocks)


def accepted(root: etree._Element) -> bool:
    """Return whether the reader makes units of an envelope."""
    try:
        make_units(MessageContent(read_header_blocks(root[0]), read_soap_body(root[1]), ()))
    except GatewayError:
        return False
    return True


def leave_words_out(root: etree._Element) -> etree._Element:
    """Return a copy without descriptions: none of what they say to people is a reason to refuse."""
    found = copy.deepcopy(root)
    for one in [*found.iter(f"{{{EB}}}Description")]:
        parent(one).remove(one)
    return found


def parent(element: etree._Element) -> etree._Element:
    found = element.getparent()
    assert found is not None
    return found


def double(element: etree._Element) -> None:
    element.addnext(copy.deepcopy(element))


def postpone(element: etree._Element) -> None:
    following = element.getnext()
    if following is not None:
        following.addnext(element)


def rename(element: etree._Element) -> None:
    element.tag = f"{{{EB}}}Other"


def foreign(element: etree._Element) -> None:
    etree.SubElement(element, "{urn:x}Extension")


def inner(element: etree._Element) -> None:
    etree.SubElement(element, f"{{{EB}}}Role").text = "x"


def words(element: etree._Element) -> None:
    element.text = "words"


def tail(element: etree._Element) -> None:
    element.tail = "words"


def empty(element: etree._Element) -> None:
    element.text = None


def bare(element: etree._Element) -> None:
    etree.strip_attributes(element, *map(str, element.attrib))


def unprefixed(element: etree._Element) -> None:
    for name, value in dict(element.attrib).items():
        element.attrib.pop(name)
        element.set(etree.QName(name).localname, value)


def blank(element: etree._Element) -> None:
    for name in element.attrib:
        element.set(name, "")


def odd(element: etree._Element) -> None:
    for name in element.attrib:
        element.set(name, "odd")


CHANGES: list[Change] = [
    lambda element: parent(element).remove(element),
    double, postpone, rename, foreign, inner, words, tail, empty, bare, unprefixed, blank, odd,
    lambda element: element.set("stray", "1"),
    lambda element: element.set(f"{{{EB}}}stray", "1"),
    lambda element: element.set("{http://schemas.xmlsoap.org/soap/envelope/}actor", "x"),
]  # fmt: skip


def mutants(unit: Unit) -> Iterator[etree._Element]:
    good = serialize_element(build_envelope_tree((unit,)))
    count = sum(1 for _ in etree.fromstring(good).iter("{*}*"))
    for index in range(count):
        for change in CHANGES:
            root = etree.fromstring(good)
            element = list(root.iter("{*}*"))[index]
            if element is root or element.getparent() is root:
                continue
            change(element)
            yield root


@pytest.mark.vectors
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: type(unit).__name__)
def test_what_the_original_schema_refuses_is_refused(unit: Unit, schema: etree.XMLSchema) -> None:
    assert valid(schema, build_envelope_tree((unit,)))
    stricter = looser = total = 0
    for root in mutants(unit):
        total += 1
        ours, theirs = accepted(root), valid(schema, leave_words_out(root))
        stricter += theirs and not ours
        looser += ours and not theirs
        assert theirs or not ours, etree.tostring(root, pretty_print=True).decode()
    assert total > 200
    assert stricter > 0


@pytest.mark.vectors
def test_signals_of_ours_are_valid(schema: etree.XMLSchema) -> None:
    context = sample_parties.context()
    opened = ebms2.open_units(
        ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, context), context
    )
    sealed = ebms2.seal((ebms2.make_receipt(opened, context),), sample_parties.SUBMIT, context)
    assert valid(schema, etree.fromstring(sample_parties.octets(sealed)))
