"""Declarations judged: what is accepted, what is told about the others, what is only a warning."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lxml import etree

from gateway.cases import unwrap_request, validate_declaration, validate_document
from gateway.wire import DECLARATION, RESULT, SUBMISSION, load_code_list, load_shipped_schemas
from gateway.wire.schema_sets import ANSWER

DEC = "urn:wco:datamodel:WCO:DEC-DMS:2"
MD = "urn:wco:datamodel:WCO:DocumentMetaData-DMS:2"
MOMENT = "urn:wco:datamodel:WCO:Declaration_DS:DMS:2"

EXCHANGE = "<CurrencyExchange><CurrencyTypeCode>{}</CurrencyTypeCode></CurrencyExchange>"


def declaration(body: str = "", function: str = "9") -> etree._Element:
    """Return the least declaration with `body` behind its function code."""
    return etree.fromstring(
        f"<Declaration xmlns='{DEC}'>\n<FunctionCode>{function}</FunctionCode>\n{body}</Declaration>"
    )


def goods(item: str) -> str:
    """Return the shipment of one item that holds `item`."""
    inside = f"<SequenceNumeric>2</SequenceNumeric>{item}"
    return f"<GoodsShipment><GovernmentAgencyGoodsItem>{inside}</GovernmentAgencyGoodsItem></GoodsShipment>"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<ID>GB1</ID>",
        "<FunctionalReferenceID>AB<!-- seen -->C</FunctionalReferenceID>",
        "<InvoiceAmount currencyID='KRW'>1.50</InvoiceAmount>",
        f"<IssueDateTime><DateTimeString xmlns='{MOMENT}' formatCode='304'>20261120090000Z</DateTimeString>"
        "</IssueDateTime>",
        goods("<Origin><CountryCode>KR</CountryCode></Origin>"),
        "<Submitter/><Agent/>",
    ],
)
def test_good_declarations_are_accepted_without_a_word(body: str) -> None:
    judgement = validate_declaration(declaration(body))
    assert (judgement.accepted, judgement.problems, judgement.warnings) == (True, (), ())


@pytest.mark.parametrize(
    ("body", "pointer", "line", "words"),
    [
        ("<ID> </ID>", "42A/D014", 3, "at least one character that is not a space"),
        ("<FunctionalReferenceID>" + "x" * 36 + "</FunctionalReferenceID>", "42A/D026", 3, "35"),
        ("<Agent/><Submitter/>", "42A/17B[1]", 3, "Submitter is not expected here"),
        ("<Unknown/>", "42A/Unknown", 3, "Unknown is not expected here"),
        ("<InvoiceAmount currencyID='won'>1</InvoiceAmount>", "42A/109", 3, "currencyID"),
        ("<TotalPackageQuantity>1.5</TotalPackageQuantity>", "42A/146", 3, "behind the point"),
        (goods("<Origin><CountryCode>KOREA</CountryCode></Origin>"), "42A/67A[1]/68A[2]/92A[1]/063", 3, "4"),
    ],
)
def test_a_problem_names_place_line_and_reason(body: str, pointer: str, line: int, words: str) -> None:
    judgement = validate_declaration(declaration(body))
    assert not judgement.accepted
    found = [(p.problem.id, p.pointer, p.line) for p in judgement.problems]
    assert ("GW402", pointer, line) in found
    assert any(words in p.message for p in judgement.problems)
    assert all(p.xpath.startswith("/wco:Declaration") for p in judgement.problems)


def test_an_element_at_a_wrong_place_is_named_itself() -> None:
    """Beside others of its name that are right."""
    body = goods("<Origin><CountryCode>KR</CountryCode></Origin><Declarant/>")
    (problem,) = validate_declaration(declaration(body)).problems
    assert problem.xpath.endswith("/wco:GovernmentAgencyGoodsItem/wco:Declarant")
    assert problem.pointer.startswith("42A/67A[1]/68A[2]/")


@pytest.mark.parametrize(
    ("body", "place", "value"),
    [
        (goods("<Origin><CountryCode>ZZ</CountryCode></Origin>"), "42A/67A[1]/68A[2]/92A[1]/063", "'ZZ'"),
        ("<InvoiceAmount currencyID='QQQ'>1</InvoiceAmount>", "42A/109/@currencyID", "'QQQ'"),
        (EXCHANGE.format("krw"), "42A/40A[1]/135", "'krw'"),
        ("<TotalGrossMassMeasure unitCode='1X'>1</TotalGrossMassMeasure>", "42A/131/@unitCode", "'1X'"),
    ],
)
def test_an_unknown_code_is_a_warning_and_changes_no_verdict(body: str, place: str, value: str) -> None:
    judgement = validate_declaration(declaration(body))
    assert judgement.accepted
    (warning,) = judgement.warnings
    assert (warning.problem.id, warning.pointer, warning.line) == ("GW403", place, 3)
    assert value in warning.message


def test_the_codes_of_each_declaration_in_a_shell_are_checked() -> None:
    codes = ("KRW", "qqq", "zzz")
    inside = "".join(etree.tostring(declaration(EXCHANGE.format(code))).decode() for code in codes)
    judgement = validate_declaration(etree.fromstring(f"<m:MetaData xmlns:m='{MD}'>{inside}</m:MetaData>"))
    assert not judgement.accepted, "a shell holds one declaration"
    assert [warning.message.partition(" ")[0] for warning in judgement.warnings] == ["'qqq'", "'zzz'"]


@pytest.mark.parametrize(
    ("xml", "named"),
    [
        ("<MetaData/>", "the namespace of MetaData is empty"),
        ("<x:Response xmlns:x='urn:wco:datamodel:WCO:RES-DMS:2'/>", "RES-DMS:2"),
        (
            "<Declaration xmlns='urn:wco:datamodel:WCO:DEC-DMS:3'/>",
            f"the namespace of Declaration is 'urn:wco:datamodel:WCO:DEC-DMS:3'; expected is '{DEC}'",
        ),
    ],
)
def test_a_foreign_root_is_told_what_was_expected(xml: str, named: str) -> None:
    judgement = validate_declaration(etree.fromstring(xml))
    (problem,) = judgement.problems
    assert not judgement.accepted
    assert named in problem.message
    assert DEC in problem.message or MD in problem.message


def test_a_shell_holds_a_declaration_and_no_response() -> None:
    inner = etree.tostring(declaration()).decode()
    assert validate_declaration(etree.fromstring(f"<m:MetaData xmlns:m='{MD}'>{inner}</m:MetaData>")).accepted
    content = "<FunctionCode>01</FunctionCode><Declaration/>"
    response = f"<Response xmlns='urn:wco:datamodel:WCO:RES-DMS:2'>{content}</Response>"
    shelled = etree.fromstring(f"<m:MetaData xmlns:m='{MD}'>{response}{response}</m:MetaData>")
    assert not validate_declaration(shelled).accepted
    assert validate_document(shelled, load_shipped_schemas(ANSWER)) == (True, ())
    assert not validate_document(
        etree.fromstring(f"<m:MetaData xmlns:m='{MD}'/>"), load_shipped_schemas(ANSWER)
    )[0]


def test_a_request_shell_is_taken_off_only_when_it_carries_one_message() -> None:
    inner = etree.tostring(declaration()).decode()
    parts = "<r:common/><r:detail>{}</r:detail>"
    shell = f"<r:submitDeclarationRequest xmlns:r='urn:x'>{parts}</r:submitDeclarationRequest>"
    one = etree.fromstring(shell.format(inner))
    assert validate_declaration(unwrap_request(one)).accepted
    for carried in ("", inner + inner):
        request = etree.fromstring(shell.format(carried))
        assert unwrap_request(request) is request
        assert not validate_declaration(unwrap_request(request)).accepted
    bad = etree.fromstring(shell.format(inner.replace(">9<", ">7<")))
    (problem, *_) = validate_declaration(unwrap_request(bad)).problems
    assert problem.pointer == "42A/017"
    assert not validate_declaration(etree.fromstring(f"<r:other xmlns:r='urn:x'>{inner}</r:other>")).accepted


def test_a_place_below_a_prefix_of_the_sender_is_found() -> None:
    root = declaration("<ID><a:b xmlns:a='urn:a'/></ID>")
    pointers = {problem.pointer for problem in validate_declaration(root).problems}
    assert pointers <= {"42A/D014", "42A/D014/b"}
    assert pointers


def test_where_a_message_claims_to_have_its_schema_is_ignored() -> None:
    claim = (
        "xmlns:i='http://www.w3.org/2001/XMLSchema-instance' i:schemaLocation='{} http://127.0.0.1:9/x.xsd'"
    )
    good = declaration()
    bad = declaration(function="x")
    for root in (good, bad):
        text = etree.tostring(root).decode().replace("<Declaration ", f"<Declaration {claim.format(DEC)} ", 1)
        judgement = validate_declaration(etree.fromstring(text))
        assert judgement.accepted is (root is good)
        assert not any("127.0.0.1" in problem.message for problem in judgement.problems)


def test_remarks_are_bounded_in_number_and_length() -> None:
    long = declaration(f"<TypeCode>{'é' * 5_000}</TypeCode>")
    assert max(len(problem.message) for problem in validate_declaration(long).problems) <= 600
    wrong = "<AdditionalDocument><TypeCode>ABCD</TypeCode></AdditionalDocument>" * 500
    assert len(validate_declaration(declaration(wrong)).problems) == 50
    odd = EXCHANGE.format("zzz") * 500
    judgement = validate_declaration(declaration(odd))
    assert judgement.accepted
    assert len(judgement.warnings) == 50


@pytest.mark.long
def test_a_very_large_declaration_is_explained_in_bounded_time() -> None:
    line = "<AdditionalInformation><StatementDescription>x</StatementDescription></AdditionalInformation>"
    root = declaration(line * 60_000 + "<Unknown/>")
    started = time.monotonic()
    judgement = validate_declaration(root)
    assert not judgement.accepted
    assert time.monotonic() - started < 200


@pytest.mark.long
def test_all_shipped_schemas_load_and_have_distinct_roots() -> None:
    for entry in (DECLARATION, ANSWER, SUBMISSION, RESULT):
        assert not load_shipped_schemas(entry).is_valid(etree.Element("Submission"))
        assert load_shipped_schemas(entry).list_violations(etree.Element("Submission"))


def test_code_lists_hold_what_trade_needs() -> None:
    assert {"KR", "US", "GB", "TW"} <= load_code_list("iso3166")
    assert {"KRW", "USD", "EUR", "XDR"} <= load_code_list("iso4217")
    assert all(len(code) == 2 and code.isupper() for code in load_code_list("iso3166"))
    assert all(len(code) == 3 and code.isupper() for code in load_code_list("iso4217"))
    assert len(load_code_list("iso3166")) == 249


@pytest.mark.vectors
def test_the_korean_example_is_accepted(vectors: Path) -> None:
    root = etree.parse(str(vectors / "data/own/import-three-items.xml")).getroot()
    judgement = validate_declaration(root)
    assert (judgement.accepted, judgement.warnings) == (True, ())
