"""A certificate of an agency's own form, of an application that never came through the hub."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine, select

from gateway.cases import AgencyCallback, DecisionCode, SignedReply
from gateway.errors import GatewayError
from gateway.hub import Hub, apply_agency_document
from gateway.hub.answers.delivered_notices import read_agency_document
from gateway.store import make_engine, read_transaction, requirement_quantities, requirement_results
from gateway.store.decisions import decisions
from tests.flows.craft import all_of, text
from tests.flows.test_delivered_notices import Window, asking, make_document, rejecting
from tests.flows.test_outside_results import name, requirement, say
from tests.flows.test_requirement_ledger import told, used_of, using
from tests.kit.databases import BOTH, Templates
from tests.kit.kills import die_at
from tests.kit.story import Story
from tests.web.test_delivered_notices import write_call

NUMBER = "2026-118"
OUTSIDE = "FOOD-2026-77"
LEDGER = (
    requirement_quantities.requirements,
    requirement_results.requirement_results,
    requirement_quantities.requirement_uses,
    requirement_results.awaited_requirements,
)


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


@pytest.fixture
def other_engine(templates: Templates) -> Iterator[Engine]:
    url = templates.fresh("sqlite")
    made = make_engine(url)
    yield made
    made.dispose()
    templates.drop(url)


def certificate(
    *items: tuple[int, str, str], status: str = "R01", at: str = "20261120180000", **more: str
) -> etree._Element:
    """Return a certificate: of each item its number here, the quantity, and a number of its own."""
    document = more.get("document", "KFDA-FOOD-IMP")
    goods = "".join(
        f"<ConsignmentItem><Commodity><ID>{item}</ID></Commodity>"
        + (f"<AdditionalDocument>{own and f'<ID>{own}</ID>'}"
           + (f'<QuantityQuantity unitCode="KGM">{quantity}</QuantityQuantity>' if quantity else "")
           + "</AdditionalDocument>" if own or quantity else "")
        + "</ConsignmentItem>"
        for item, quantity, own in items
    )  # fmt: skip
    return make_document(
        "CERTIFICATE",
        f"<TypeCode>CERTIFICATE</TypeCode><Status><NameCode>{status}</NameCode></Status>"
        f"<Declaration><TypeCode>{document}</TypeCode>"
        f"<ID>{more.get('application', OUTSIDE)}</ID><Consignment>{goods}</Consignment></Declaration>"
        f"<ID>{more.get('number', NUMBER)}</ID><IssueDateTime>{at}</IssueDateTime>"
        f"<Authenticator><Name>KFDA</Name></Authenticator>",
    )


def rows(story: Story) -> dict[str, list[dict[str, Any]]]:
    """Return what the ledger has, without the digests of signed octets."""
    with read_transaction(story.house.engine) as conn:
        return {
            table.name: [dict(row) for row in conn.execute(select(table).order_by(table.c.id)).mappings()]
            for table in LEDGER
        }  # fmt: skip


def write_calls(story: Story, document: etree._Element) -> list[str]:
    """Return the contents of SubmitDecision that say what a document says."""
    read = read_agency_document(story.hub, "KFDA", document)
    return [
        write_call(AgencyCallback(notice)).replace(
            "<NoticeNumber>", f"<RequirementNumber>{number}</RequirementNumber><NoticeNumber>", 1
        )
        for number, notice in read.results
    ]


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("first", ["document", "declaration"])
def test_a_certificate_is_a_result_without_application(
    story: Story, other_engine: Engine, first: str
) -> None:
    """The rows, the join and the outcome of SubmitDecision, in either order."""
    own, ours = Window(story), Window(Story(other_engine))
    document = certificate((1, "100", ""))
    calls = write_calls(own.story, document)
    if first == "declaration":
        for one in (own, ours):
            name(one.story)
            one.story.tick()
    for _ in range(2):  # a repeat changes nothing
        assert b"DeliverNoticeResponse" in own.call("KFDA", "DeliverNotice", certificate((1, "100", "")))
        assert b"SubmitDecisionResponse" in ours.call("KFDA", "SubmitDecision", calls[0])
    if first == "document":
        for one in (own, ours):
            name(one.story)
    for one in (own, ours):
        one.story.tick()
        assert one.story.outcome() == ("APPROVED", {1: "APPROVED"})
        assert used_of(one.story, NUMBER) == {"KGM": "40"}
        assert one.story.evidence("requirement", requirement(one.story).id) == ["reply", "joined"]
    stored = rows(own.story)
    # The document alone says of which declarations the certificate is.
    assert [row["said"].pop("direction") for row in stored["requirement_results"]] == ["import"]
    assert stored == rows(ours.story)


def declare_export(story: Story) -> None:
    """File an export declaration that uses 40 kg under the number."""
    export = text(".//{*}Declaration/{*}TypeCode", "EXA")
    change = all_of(using("D1", (1, NUMBER, "40", "KGM")), export)
    story.submit(story.submission(change), attach=False)
    story.tick(seconds=1)


@pytest.mark.long
@pytest.mark.parametrize("first", ["document", "declaration"])
def test_a_certificate_of_a_document_for_import_is_none_of_an_export(story: Story, first: str) -> None:
    window = Window(story)
    if first == "declaration":
        declare_export(story)
    assert b"DeliverNoticeResponse" in window.call("KFDA", "DeliverNotice", certificate((1, "100", "")))
    if first == "document":
        declare_export(story)
        ((problem, _, words),) = told(story)
        sentence = "is for import; this is an export declaration"
        assert (problem, words) == ("GW412", f"requirement {NUMBER} of KFDA {sentence}")
    story.tick(seconds=1)
    assert used_of(story, NUMBER) == {}
    name(story, "D2")
    story.tick()
    assert used_of(story, NUMBER) == {"KGM": "40"}


def valid_until(document: etree._Element, day: str) -> etree._Element:
    """Let a certificate state its last day."""
    number = next(one for one in document.iter("{*}ID"))
    last = etree.Element(etree.QName(etree.QName(number).namespace, "EffectiveDateTime"))
    last.text = day
    number.addnext(last)
    return document


@pytest.mark.long
@pytest.mark.parametrize("applied", [False, True], ids=["without application", "of an application"])
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
def test_a_certificate_lapses_after_the_last_day_that_it_states(
    story: Story, applied: bool, turned: bool
) -> None:
    """The later certificate counts, whichever arrives first; on its last day it can still be used."""
    more, item = {}, 1
    if applied:
        story.submit()
        story.tick()
        more, item = {"application": story.number_of("KFDA")}, 2
    window = Window(story)
    first = valid_until(certificate((item, "100", ""), at="20261119180000", **more), "20271231")
    second = valid_until(certificate((item, "100", ""), at="20261120180000", **more), "20261121")
    for one in (second, first) if turned else (first, second):
        assert b"DeliverNoticeResponse" in window.call("KFDA", "DeliverNotice", one)
    story.tick()
    assert str(requirement(story).valid_until) == "2026-11-21"
    story.clock.forward(hours=24)
    name(story, "ON-TIME")
    assert used_of(story, NUMBER) == {"KGM": "40"}
    story.clock.forward(hours=24)
    name(story, "LATE")
    (problem,) = story.result().findall("{*}Problem")
    assert (problem.get("id"), "valid until 2026-11-21" in (problem.text or "")) == ("GW412", True)
    assert used_of(story, NUMBER) == {"KGM": "40"}


@pytest.mark.long
def test_a_later_certificate_revokes(story: Story) -> None:
    window = Window(story)
    window.call("KFDA", "DeliverNotice", certificate((1, "100", "")))
    name(story)
    story.tick()
    refusing = certificate((1, "", ""), status="R03", at="20261121180000")
    assert b"DeliverNoticeResponse" in window.call("KFDA", "DeliverNotice", refusing)
    story.tick(seconds=5)
    assert story.outcome()[1] == {1: "REJECTED"}
    assert used_of(story, NUMBER) == {}


def withdrawn(number: str, code: str = "G02") -> etree._Element:
    """Return the status notice of KPTA that takes a certificate back, or says of it something else."""
    head = f"<TypeCode>GOVCBRFR2</TypeCode><ID>{OUTSIDE}7</ID>"
    paper = f"<AdditionalDocument><ID>{number}</ID></AdditionalDocument>"
    content = (
        f"<TypeCode>GOVCBRRBH</TypeCode><Declaration>{head}{paper}</Declaration><ID>H-{code}</ID>"
        f"<IssueDateTime>20261121180000</IssueDateTime><Status><NameCode>{code}</NameCode></Status>"
    )
    return make_document("GOVCBRRBH", content)


def passed(code: str) -> etree._Element:
    """Return a status notice of a pass under a number of the agency's own, about an application `code`."""
    head = (
        f"<TypeCode>{code}</TypeCode><ID>{OUTSIDE}8</ID><AdditionalDocument><ID>T-1</ID></AdditionalDocument>"
    )
    content = (
        f"<TypeCode>GOVCBRRBH</TypeCode><Declaration>{head}</Declaration><ID>H-8</ID>"
        f"<IssueDateTime>20261121180000</IssueDateTime><Status><NameCode>F03</NameCode></Status>"
    )
    return make_document("GOVCBRRBH", content)


@pytest.mark.long
@pytest.mark.parametrize(
    ("agency", "laws", "direction"),
    [
        ("FITI", ["24", "88"], "import"),
        ("KTL", ["23"], "import"),
        ("EMC", ["29", "77"], None),
        ("NPQS", ["12"], "export"),
    ],
)
def test_a_code_that_no_mapping_knows_is_of_the_documents_without_one(
    story: Story, agency: str, laws: list[str], direction: str | None
) -> None:
    read = read_agency_document(story.hub, agency, passed("GOVCBRZZ1"))
    ((number, notice),) = read.results
    assert (number, notice.direction) == ("T-1", direction)
    assert [(one.item, one.law) for one in notice.decisions] == [(1, law) for law in laws]


@pytest.mark.long
@pytest.mark.parametrize(
    ("agency", "code", "told"),
    [
        (
            "KFDA",
            "GOVCBRZZ1",
            "GW716 'GOVCBRZZ1' may be one of KFDA-FOOD-IMP, .* of different laws",
        ),
        ("KPTA", "GOVCBRZZ1", "GW716 KPTA has no kind of application 'GOVCBRZZ1', but GOVCBRFR2, GOVCBRFR3"),
        ("FITI", "GOVCBRFR2", "GW716 FITI has no kind of application 'GOVCBRFR2'"),
        ("FITI", "GOVCBRRBG", "GW716 FITI has no kind of application 'GOVCBRRBG'"),
        ("FITI", "GOVCBRZZ", "GW717 "),
    ],
)
def test_a_code_that_may_be_of_several_laws_is_refused(
    story: Story, agency: str, code: str, told: str
) -> None:
    with pytest.raises(GatewayError, match=told):
        read_agency_document(story.hub, agency, passed(code))


@pytest.mark.long
def test_a_status_notice_takes_back_all_that_was_said_under_the_number(story: Story) -> None:
    window = Window(story)
    # Who takes back what nobody has heard of is told: its items are not known.
    answer = window.call("KPTA", "DeliverNotice", withdrawn(NUMBER))
    assert b"GW701" in answer
    assert b"/Response/Declaration/AdditionalDocument/ID<" in answer
    for item, law in ((1, "01"), (2, "70")):
        say(story, agency="KPTA", law=law, item=item, notice=f"R{item}", quantity="60")
    name(story, quantity="120")
    story.tick()
    assert used_of(story, NUMBER) == {"KGM": "120"}
    assert b"GW701" in window.call("KPTA", "DeliverNotice", withdrawn(NUMBER, "C01"))
    assert b"DeliverNoticeResponse" in window.call("KPTA", "DeliverNotice", withdrawn(NUMBER))
    story.tick(seconds=5)
    assert story.outcome()[1] == {1: "REJECTED"}
    assert used_of(story, NUMBER) == {}
    revoked = [(one["item"], one["law"]) for one in rows(story)["requirement_results"]
               if one["decision"] == "REJECTED"]  # fmt: skip
    assert revoked == [(1, "01"), (2, "70")]


@pytest.mark.long
def test_items_with_numbers_of_their_own_are_certificates_of_their_own(story: Story) -> None:
    window = Window(story)
    document = certificate((1, "100", ""), (2, "50", "2026-119"), (3, "7", "2026-119"))
    assert b"DeliverNoticeResponse" in window.call("KFDA", "DeliverNotice", document)
    found = {
        row["notice_no"]: row["quantity"] for row in rows(story)["requirement_results"] if row["item"] != 3
    }
    assert found == {
        "2026-118/R01/2026-11-20T18:00:00+09:00/FOOD-2026-77": "100",
        "2026-118/R01/2026-11-20T18:00:00+09:00/FOOD-2026-77/2026-119": "50",
    }
    name(story, "D1", "57", "2026-119")
    story.tick()
    assert used_of(story, "2026-119") == {"KGM": "57"}
    # Other content under one of the numbers: nothing of the document is stored.
    before = rows(story)
    changed = certificate((4, "100", "2026-120"), (2, "51", "2026-119"), (3, "7", "2026-119"))
    answer = window.call("KFDA", "DeliverNotice", changed)
    assert b"GW702" in answer
    assert b"Location>/Response/ID<" in answer
    assert rows(story) == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("document", "problem", "where"),
    [
        (certificate((1, "1", ""), application="A26000001001X"), b"GW513", b"/Response/Declaration/ID<"),
        (certificate((1, "1", ""), application="A2600001001X"), b"GW513", b"/Response/Declaration/ID<"),
        (certificate((1, "1", ""), document="KPTA-PHARM-IMP"), b"GW716", b"/Response/Declaration/TypeCode<"),
        (certificate((1, "0", "")), b"GW404", b"Commodity/ID<"),
        (certificate((1, "1", "")), b"", b""),
        (rejecting(OUTSIDE), b"GW513", b"/Response/Declaration/ID<"),
        (asking("S260000001001"), b"GW701", b"/Response/Declaration/ID<"),
    ],
    ids=["mistyped", "a sign lost", "another agency's kind", "nothing", "good", "no number", "no decision"],
)
def test_what_is_no_result_is_refused_with_its_place(
    story: Story, document: etree._Element, problem: bytes, where: bytes
) -> None:
    """A mistyped number of the hub is never taken for a number of the agency's own."""
    before = rows(story)
    answer = Window(story).call("KFDA", "DeliverNotice", document)
    if not problem:
        assert b"DeliverNoticeResponse" in answer
        return
    assert problem in answer
    assert where in answer
    assert rows(story) == before


def test_a_comment_cuts_no_number(story: Story) -> None:
    """A signature does not cover comments, so that anybody may put one into a number on its way."""
    document = certificate((1, "100", ""))
    for path, content, tail in (("{*}ID", "2026", "-118"), ("{*}Declaration/{*}ID", "FOOD-20", "26-77")):
        leaf = document.find(path)
        assert leaf is not None
        leaf.text = content
        leaf.append(etree.Comment("x"))
        leaf[0].tail = tail
    read = read_agency_document(story.hub, "KFDA", document)
    assert [number for number, _ in read.results] == [NUMBER]
    document = certificate((1, "100", ""), application="A26000001001X")
    leaf = document.find("{*}Declaration/{*}ID")
    assert leaf is not None
    leaf.text = "A26"
    leaf.append(etree.Comment("x"))
    leaf[0].tail = "000001001X"
    with pytest.raises(GatewayError) as refused:
        read_agency_document(story.hub, "KFDA", document)
    assert refused.value.problem.id == "GW513"


def test_a_certificate_under_the_number_of_an_application_is_refused(story: Story) -> None:
    """It names one application by its number, and another one by its certificate."""
    story.submit()
    story.tick()
    story.decide_all()
    with read_transaction(story.house.engine) as conn:
        number = conn.execute(select(decisions.c.number).where(decisions.c.agency == "KFDA")).scalar_one()
    answer = Window(story).call("KFDA", "DeliverNotice", certificate((1, "1", ""), number=number))
    assert b"GW701" in answer
    assert b"no decision under a number of its own" in answer


@pytest.mark.long
@BOTH
def test_certificates_and_declaration_at_one_instant(story: Story) -> None:
    for turn in range(4):
        number = f"RACE-{turn}"
        document = certificate((1, "100", ""), (2, "1", f"{number}-B"), number=number)
        name(story, f"D-{turn}", number=number) if turn % 2 else None
        with ThreadPoolExecutor(3) as pool:
            told = [
                pool.submit(apply_agency_document, story.hub, "KFDA", document, SignedReply())
                for _ in range(2)
            ]
            worker = story.new_worker(f"race-{turn}", threads=1)
            ran = pool.submit(worker.run_once)
            assert {one.result() for one in told} == {number}
            ran.result()
        if not turn % 2:
            name(story, f"D-{turn}", number=number)
        story.tick(seconds=1)
        assert used_of(story, number) == {"KGM": "40"}
        assert story.evidence("requirement", requirement(story, number).id)[0] == "reply"


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_process_that_dies_over_a_certificate(story: Story, place: str) -> None:
    name(story)
    story.tick()

    def hear(hub: Hub) -> None:
        apply_agency_document(hub, "KFDA", certificate((1, "100", "")), SignedReply())

    die_at(story, f"reply.requirement.{place}_commit", hear)
    hear(story.hub)
    story.tick(seconds=61)
    assert story.outcome() == ("APPROVED", {1: "APPROVED"})
    assert used_of(story, NUMBER) == {"KGM": "40"}
    assert len(rows(story)["requirement_results"]) == 1


@pytest.mark.long
def test_a_correction_without_direction_keeps_that_of_the_document(story: Story) -> None:
    window = Window(story)
    assert b"DeliverNoticeResponse" in window.call("KFDA", "DeliverNotice", certificate((1, "100", "")))
    story.tick(seconds=60)
    say(story, number=NUMBER, notice="R2", quantity="90", at=story.clock())
    declare_export(story)
    assert [problem for problem, _, _ in told(story)] == ["GW412"]
    assert used_of(story, NUMBER) == {}


@pytest.mark.long
def test_an_export_that_a_refusal_rejected_takes_no_certificate_for_import(story: Story) -> None:
    """The refusal states no direction, the certificate that corrects it does."""
    declare_export(story)
    case = story.case().id
    say(story, DecisionCode.REJECTED, number=NUMBER, notice="R1")
    story.tick(seconds=1)
    assert story.outcome() == ("PARTIAL", {1: "REJECTED"})
    story.tick(seconds=9 * 3600)
    document = certificate((1, "100", ""), at="20261121030000")
    assert b"DeliverNoticeResponse" in Window(story).call("KFDA", "DeliverNotice", document)
    story.tick(seconds=1)
    assert used_of(story, NUMBER) == {}
    assert story.evidence("case", case).count("not_left") >= 1
    assert "written_off" not in story.evidence("case", case)


@pytest.mark.long
def test_a_refusal_of_an_import_rejects_no_export(story: Story) -> None:
    declare_export(story)
    document = certificate((1, "", ""), status="R03")
    assert b"DeliverNoticeResponse" in Window(story).call("KFDA", "DeliverNotice", document)
    story.tick(seconds=1)
    assert story.outcome()[0] == "APPROVED"
    name(story, "D2")
    story.tick()
    assert [problem for problem, _, _ in told(story)] == ["GW412"], "an import is refused by it"
