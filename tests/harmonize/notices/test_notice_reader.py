# ruff: noqa: E501 (tables with long lines)
"""The shipped notices: complete against the item definitions, read back as drawn, refused with their place."""

from __future__ import annotations

import copy
import csv
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import (
    MappingBundle,
    NoticeFacts,
    draw_notice,
    find_document_mapping,
    load_bundle,
    read_notice,
)
from gateway.harmonize.language import DocumentMapping, NoticeElement, NoticeMapping
from gateway.harmonize.notices.notice_reader import NoticeFact
from gateway.harmonize.schemas import write_notice_schema
from gateway.harmonize.schemas.document_schemas import generate_notice_schemas
from gateway.share import get_data_folder

SEEDS = 200


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


NOTICES = list(shipped().notices.notices)
VERIFIED = ["GOVCBRRBG", "GOVCBRRBH", "GOVCBRRBJ", "GOVCBRASD", "GOVCBRDD2", "GOVCBRFS7", "GOVCBRFS8"]


def notice(name: str) -> NoticeMapping:
    return shipped().notices.notices[name]


@functools.cache
def schema(name: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.fromstring(write_notice_schema(notice(name)).encode()))


def drawn(
    name: str, seed: int, document: DocumentMapping | None = None
) -> tuple[etree._Element, tuple[NoticeFact, ...]]:
    root, facts = draw_notice(notice(name), shipped().notices, str(seed), document)
    return etree.fromstring(etree.tostring(root)), facts


def read(root: etree._Element, document: DocumentMapping | None = None) -> NoticeFacts:
    return read_notice(root, shipped().notices, document)


def refusal(root: etree._Element, document: DocumentMapping | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        read(root, document)
    return refused.value


def answered(name: str) -> DocumentMapping | None:
    found = [d for d in shipped().documents.values() if d.accepted_notices.allows_notice(notice(name))]
    return found[0] if found else None


def found_at(root: etree._Element, xpath: str) -> list[etree._Element]:
    """Return what an XPath of the reader finds, whose names are in the notice's own namespace."""
    steps = xpath.strip("/").split("/")
    space = etree.QName(root).namespace
    path = "/".join(one if one.startswith("@") else f"n:{one}" for one in steps)
    return root.getroottree().xpath(f"/{path}", namespaces={"n": space})


def element(root: etree._Element, path: str) -> etree._Element:
    found = root.find("/".join(f"{{*}}{step}" for step in path.split("/")))
    assert found is not None, path
    return found


def put(root: etree._Element, path: str, text: str) -> None:
    element(root, path).text = text


# The item definitions -------------------------------------------------------------------------------


def leaves(slot: NoticeElement, path: str) -> Iterator[tuple[str, NoticeElement, bool, object]]:
    """Yield path, slot, whether it is mandatory and what holds the value, for each row a notice would have."""
    if slot.line is not None:
        mandatory = slot.line.requirement.mandatory and (
            slot.text_piece is None or slot.text_piece.piece_number == 0
        )
        yield path, slot, mandatory, slot.line
        for one in slot.attributes:
            yield f"{path}/@{one.name}", slot, one.is_required, one
    for child in slot.children:
        yield from leaves(child, f"{path}/{child.name}")


@pytest.mark.vectors
@pytest.mark.parametrize("name", VERIFIED)
def test_every_row_of_the_item_definition_is_a_line_of_its_form(vectors: Path, name: str) -> None:
    with (vectors / "data" / "kr-unipass" / "agency_message_items.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["edoc"] == name]
    lines = list(leaves(notice(name).root, notice(name).root.name))
    assert sorted(row["xpath"] for row in rows) == sorted(path for path, *_ in lines)
    for row in rows:
        likes = [one for one in lines if one[0] == row["xpath"]]
        assert any(fits(row, slot, mandatory, held) for _, slot, mandatory, held in likes), row


def fits(row: dict[str, str], slot: NoticeElement, mandatory: bool, held: object) -> bool:
    # What is conditional in the source, without words, is optional or hangs on the status.
    wanted = row["condition"] == "M"
    if wanted != mandatory:
        return False
    if slot.line is None or held is not slot.line or slot.line.shape.codes is not None:
        return True
    shape = slot.line.shape
    size = (
        slot.text_piece.octets if slot.text_piece else shape.max_length or shape.octets or shape.total_digits
    )
    size = 8 if shape.kind == "day" else size
    if row["size"].count(","):
        return (shape.total_digits, shape.fraction_digits) == tuple(
            int(one) for one in row["size"].split(",")
        )
    return size == int(row["size"])


@pytest.mark.vectors
def test_the_status_table_is_that_of_the_source(vectors: Path) -> None:
    with (vectors / "data" / "kr-unipass" / "requirement_status_codes.csv").open(encoding="utf-8") as file:
        source = {row["code"]: row for row in csv.DictReader(file)}
    text = (get_data_folder("mappings") / "codelists" / "requirement-status.csv").read_text(encoding="utf-8")
    ours = {row["code"]: row for row in csv.DictReader(text.splitlines())}
    assert (len(ours), set(ours)) == (74, set(source))
    for code, row in ours.items():
        wanted = source[code]
        carrier = wanted["carrier_message"].replace("-", "").split(" ")[0]
        assert (row["phase"], row["set_by"], row["terminal"], row["outcome"], row["carrier"]) == (
            wanted["phase"],
            wanted["set_by"],
            wanted["terminal"],
            wanted["canonical_outcome"],
            carrier,
        )


def test_every_status_that_someone_tells_us_is_read_from_its_carrier_and_from_no_other() -> None:
    codes = shipped().lists
    for code in codes["requirementStatus"].codes:
        carrier = codes["requirementCarrier"].translate_code(code)
        if carrier is None:
            assert code[0] == "A" or code == "Y17"
            continue
        readers = [name for name in NOTICES if code in statuses(name)]
        if carrier == "certificate":
            assert readers == ["GOVCBRFS7", "GOVCBRFS8", "CERTIFICATE"]
        else:
            assert carrier in readers
            assert set(readers) <= {carrier, "GOVCBR5GA"}


def statuses(name: str) -> set[str]:
    """Return every status that a notice can give: its constant, or the codes of its line."""
    fixed = {value for kind, value, _ in notice(name).implied_facts if kind.name == "status"}
    for line in notice(name).root.list_lines():
        if line.fact_type is not None and line.fact_type.name == "status":
            fixed |= set(line.shape.codes or ())
    return fixed


# Round trips ----------------------------------------------------------------------------------------


def key(fact: NoticeFact) -> tuple[object, ...]:
    return (
        fact.name,
        fact.value,
        fact.unit,
        fact.item or "",
        fact.occurrence,
        fact.request_path,
        str(fact.rule),
    )


@pytest.mark.night
@pytest.mark.parametrize("known", [True, False], ids=["for a document", "for none"])
@pytest.mark.parametrize("name", NOTICES)
def test_what_was_drawn_is_read(name: str, known: bool) -> None:
    document = answered(name) if known else None
    for seed in range(30 if known else SEEDS):
        root, facts = drawn(name, seed, document)
        assert schema(name).validate(root), schema(name).error_log
        assert sorted(map(key, read(root, document).facts)) == sorted(map(key, facts)), seed


@pytest.mark.night
@pytest.mark.parametrize("name", NOTICES)
def test_every_line_is_drawn_and_its_xpath_finds_what_was_read(name: str) -> None:
    seen = set()
    for seed in range(60):
        root, _ = drawn(name, seed)
        for fact in read(root).facts:
            (where,) = found_at(root, fact.xpath)
            seen.add(fact.rule.line)
            if not fact.transforms and fact.name not in ("error.part",):
                assert (where.text or "").strip() == fact.value
    lines = {line.mark.line for line in notice(name).root.list_lines() if line.const is None}
    assert lines <= seen


@pytest.mark.night
@pytest.mark.parametrize("name", NOTICES)
def test_reader_and_schema_agree_on_what_is_missing_twice_moved_or_strange(name: str) -> None:
    checked = 0
    for seed in range(1 if notice(name).role == "certificate" else 3):
        root, _ = drawn(name, seed)
        for spoil in SPOILS:
            for position in range(1, len(list(root.iter()))):
                bad = copy.deepcopy(root)
                if spoil(list(bad.iter())[position]):
                    checked += 1
                    agree(name, bad)
    assert checked > 100


def agree(name: str, root: etree._Element) -> None:
    """Hold the verdict of the reader against that of the schema."""
    error, valid = verdict(root), schema(name).validate(root)
    if error is None:
        assert valid, schema(name).error_log
        return
    assert error.problem.id in ("GW402", "GW403"), error
    assert error.location.startswith("/Response")
    # What only the reader knows: conditions, pieces missing in between, which of like elements is missing.
    alone = "elsewhere" in error.detail or "piece of a text" in error.detail or "[@" in error.location
    assert alone or not valid, error


def verdict(root: etree._Element) -> GatewayError | None:
    try:
        read(root)
    except GatewayError as error:
        return error
    return None


def removed(one: etree._Element) -> bool:
    one.getparent().remove(one)
    return True


def doubled(one: etree._Element) -> bool:
    one.addnext(copy.deepcopy(one))
    # A repeated item has the identifier again, which is another mistake.
    return not any("ConsignmentItem" in str(e.tag) or "LPCO" in str(e.tag) for e in one.iter())


def moved(one: etree._Element) -> bool:
    after = one.getnext()
    if after is None:
        return False
    after.addnext(one)
    return True


def renamed(one: etree._Element) -> bool:
    one.tag = f"{one.tag}X"
    return True


def foreign(one: etree._Element) -> bool:
    one.tag = "{urn:elsewhere}Thing"
    return True


def marked(one: etree._Element) -> bool:
    one.set("more", "1")
    return True


def emptied(one: etree._Element) -> bool:
    if len(one):
        return False
    one.text = None
    return True


def filled(one: etree._Element) -> bool:
    if not len(one):
        return False
    one.text = "text"
    return True


def bared(one: etree._Element) -> bool:
    if not one.attrib:
        return False
    one.attrib.clear()
    return True


def nested(one: etree._Element) -> bool:
    if len(one):
        return False
    etree.SubElement(one, one.tag)
    return True


SPOILS = [removed, doubled, moved, renamed, foreign, marked, emptied, filled, bared, nested]


# Each thing that may be wrong -----------------------------------------------------------------------

WRONG = [
    ("GOVCBRRBH", "Status/NameCode", "Z99", "GW403", "/Response/Status/NameCode"),
    ("GOVCBRRBH", "Status/NameCode", "G03", "GW403", "/Response/Status/NameCode"),
    ("GOVCBRASD", "AdditionalInformation/StatementTypeCode", "C04", "GW403", "/Response/AdditionalInformation/StatementTypeCode"),
    ("GOVCBRRBH", "TypeCode", "GOVCBRRBJ", "GW403", "/Response/TypeCode"),
    ("GOVCBRRBH", "IssueDateTime", "20140732000000", "GW402", "/Response/IssueDateTime"),
    ("GOVCBRRBH", "IssueDateTime", "20140716", "GW402", "/Response/IssueDateTime"),
    ("GOVCBRRBH", "IssueDateTime", "20140716250000", "GW402", "/Response/IssueDateTime"),
    ("GOVCBRRBH", "Declaration/ID", "S12341400000", "GW402", "/Response/Declaration/ID"),
    ("GOVCBRRBH", "ID", "번" * 11, "GW402", "/Response/ID"),
    ("GOVCBRRBH", "ID", "ก", "GW402", "/Response/ID"),
    ("GOVCBRRBH", "ID", "", "GW402", "/Response/ID"),
    ("GOVCBRDD2", "Declaration/VersionID", "1.5", "GW402", "/Response/Declaration/VersionID"),
    ("GOVCBRDD2", "Declaration/VersionID", "100", "GW402", "/Response/Declaration/VersionID"),
    ("GOVCBRFS7", "Declaration/LPCO/Consignment/ConsignmentItem/Commodity/ID", "FR2", "GW402", "/Response/Declaration/LPCO"),
    ("GOVCBRFS7", "Declaration/DutyTaxFee/Payment/PaymentAmount", "1.23456", "GW402", "/Response/Declaration/DutyTaxFee/Payment/PaymentAmount"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "text", "problem", "xpath"), WRONG)
def test_a_wrong_value_is_refused_where_it_stands(
    name: str, path: str, text: str, problem: str, xpath: str
) -> None:
    root, _ = drawn(name, 1)
    put(root, path, text)
    error = refusal(root)
    assert error.problem.id == problem
    assert error.location.startswith(xpath)


def test_a_unit_that_no_list_knows_is_refused() -> None:
    root, _ = drawn("GOVCBRFS7", 1)
    path = "Declaration/LPCO/Consignment/ConsignmentItem/Commodity/DetailedCommodity/CountQuantity"
    element(root, path).set("kcsUnitCode", "ZZZ")
    error = refusal(root)
    assert error.problem.id == "GW403"
    assert error.location.endswith("/CountQuantity/@kcsUnitCode")


def test_an_unknown_notice_and_one_of_another_namespace_are_not_understood() -> None:
    for text in ("<Response/>", '<Response xmlns="urn:single-window:document:govcbrxxx:1"/>', "<x/>"):
        assert refusal(etree.fromstring(text)).problem.id == "GW603"


def test_a_document_is_answered_by_its_notices_alone_and_about_itself() -> None:
    pharm = shipped().documents["KPTA-PHARM-IMP"]
    food = shipped().documents["KFDA-FOOD-IMP"]
    certificate, _ = drawn("GOVCBRFS7", 2, pharm)
    assert read(certificate, pharm).document is pharm
    assert refusal(certificate, food).problem.id == "GW603"
    status, _ = drawn("GOVCBRRBH", 2, pharm)
    assert read(status, food).find_value("application_number")
    put(status, "Declaration/TypeCode", "GOVCBRFR3")
    error = refusal(status, pharm)
    assert (error.problem.id, error.location) == ("GW603", "/Response/Declaration/TypeCode")


def test_the_document_is_found_by_the_kind_that_a_notice_names() -> None:
    documents = shipped().documents.values()
    found = find_document_mapping("GOVCBRFR2", documents)
    assert found is not None
    assert found.id == "KPTA-PHARM-IMP"
    assert find_document_mapping("GOVCBRXXX", documents) is None
    assert find_document_mapping("GOVCBRFR2", [found, found]) is None
    assert find_document_mapping(None, documents) is None


# Dates ----------------------------------------------------------------------------------------------


def due(text: str) -> str | None:
    seed = next(n for n in range(50) if drawn("GOVCBRRBH", n)[0].find(".//{*}ExpirationDateTime") is not None)
    root, _ = drawn("GOVCBRRBH", seed)
    put(root, "Declaration/ExpirationDateTime", text)
    return read(root).find_value("due_at")


def test_an_unknown_time_is_a_day_and_never_midnight() -> None:
    assert due("20150125000000") == "2015-01-25"
    assert due("20150125180000") == "2015-01-25T18:00:00+09:00"
    assert due("20150125000001") == "2015-01-25T00:00:01+09:00"


def test_a_moment_whose_time_is_always_known_may_be_midnight() -> None:
    root, _ = drawn("GOVCBRRBH", 1)
    put(root, "IssueDateTime", "20150125000000")
    assert read(root).find_value("issued_at") == "2015-01-25T00:00:00+09:00"


# Items ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "said", "item"),
    [
        ("CR2000", "0", None),
        ("CR3000", "0", None),
        ("CR2001", "1", "1"),
        ("CR2012", "12", "12"),
        ("7", "7", "7"),
    ],
)
def test_a_nonconformity_is_about_one_item_or_the_whole(identifier: str, said: str, item: str | None) -> None:
    facts = read(nonconformity(identifier))
    assert (facts.find_value("item"), facts.item_number) == (said, item)
    assert (facts.find_value("decision"), facts.find_value("outcome")) == ("REJECTED", "rejected")


def nonconformity(identifier: str | None) -> etree._Element:
    """Return a nonconformity notice about an item, or about none."""
    for seed in range(50):
        root, _ = drawn("GOVCBRRBJ", seed)
        found = root.find(".//{*}Commodity/{*}ID")
        if (found is None) != (identifier is None):
            continue
        if found is not None:
            found.text = identifier
        return root
    raise AssertionError("no such notice was drawn")


def test_a_nonconformity_without_an_item_is_about_the_whole() -> None:
    assert read(nonconformity(None)).item_number is None


def test_items_are_named_as_the_document_names_them() -> None:
    pharm, food = (shipped().documents[name] for name in ("KPTA-PHARM-IMP", "KFDA-FOOD-IMP"))
    root = nonconformity("FR2003")
    put(root, "Declaration/TypeCode", "GOVCBRFR2")
    assert read(root, pharm).item_number == "3"
    for wrong in ("FR3003", "FR20003", "3", "FR2"):
        put(root, "Declaration/Consignment/ConsignmentItem/Commodity/ID", wrong)
        error = refusal(root, pharm)
        assert (error.problem.id, error.location) == (
            "GW402",
            "/Response/Declaration/Consignment/ConsignmentItem/Commodity/ID",
        )
    put(root, "Declaration/Consignment/ConsignmentItem/Commodity/ID", "3")
    assert read(root, food).item_number == "3"


def test_one_item_is_not_certified_twice() -> None:
    for seed in range(20):
        root, _ = drawn("GOVCBRFS7", seed)
        ids = root.findall(".//{*}LPCO/{*}Consignment/{*}ConsignmentItem/{*}Commodity/{*}ID")
        if len(ids) > 1:
            ids[1].text = ids[0].text
            error = refusal(root)
            assert error.problem.id == "GW404"
            assert found_at(root, error.location) == [ids[1]]
            return
    raise AssertionError("no certificate of two items was drawn")


# Conditions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "missing"), [("C04", "FunctionalReferenceID"), ("D01", "LimitDateTime"), ("D01", "Name")]
)
def test_what_a_status_demands_must_be_there(status: str, missing: str) -> None:
    for seed in range(200):
        root, _ = drawn("GOVCBRRBH", seed)
        place = root.find(f"{{*}}Declaration/{{*}}Control/{{*}}{missing}")
        place = root.find(f"{{*}}Declaration/{{*}}{missing}") if place is None else place
        if place is None or read(root).find_value("status") != status:
            continue
        place.getparent().remove(place)
        error = refusal(root)
        assert error.problem.id == "GW402"
        assert error.location.endswith(f"/{missing}")
        return
    raise AssertionError("no such notice was drawn")


# What is made ---------------------------------------------------------------------------------------


def test_the_written_schemas_are_those_of_the_maps() -> None:
    top = Path(str(get_data_folder("xsd"))) / "agencies"
    files = {f"notices/{path.name}": path.read_text("utf-8") for path in (top / "notices").glob("*.xsd")}
    assert files == generate_notice_schemas(shipped().notices), "run: gateway map build --out ."


def test_every_document_is_answered_by_the_shared_notices_and_one_certificate() -> None:
    shared = [one.id for one in shipped().notices.notices.values() if one.shared]
    assert shared[:5] == ["GOVCBRRBG", "GOVCBRRBH", "GOVCBRRBJ", "GOVCBRASD", "GOVCBRDD2"]
    for document in shipped().documents.values():
        assert all(document.accepted_notices.allows_notice(notice(name)) for name in shared), document.id
        assert document.accepted_notices.certificate is not None, document.id
