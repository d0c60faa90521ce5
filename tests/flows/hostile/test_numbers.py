"""Numbers that nobody should convert: refused by their form, before anything is made of them."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

import pytest

import gateway
from gateway.cases import validate_document
from gateway.harmonize.language import DECIMAL
from gateway.protocols.element_reader import read_instant
from gateway.wire import SUBMISSION, load_shipped_schemas, parse_xml, read_multipart_related
from gateway_conformance.hostile import HttpRequest, number_attacks
from tests.flows.hostile.sample_kit import SAMPLE_KIT

BENCH = SAMPLE_KIT
CASES = {case.id: case for case in number_attacks.CASES}


@pytest.mark.parametrize("name", [name for name in CASES if ".submission-" in name])
def test_a_number_without_end_is_refused_by_the_schema(name: str) -> None:
    post = next(CASES[name].scenario(BENCH)).step
    assert isinstance(post, HttpRequest)
    (part,) = read_multipart_related(post.headers["Content-Type"], post.body).attachments
    accepted, remarks = validate_document(parse_xml(part.content), load_shipped_schemas(SUBMISSION))
    assert not accepted
    assert {one.problem.id for one in remarks} == {"GW402"}
    assert all(len(one.message) < 500 for one in remarks)


@pytest.mark.parametrize(
    "text", ["9" * 41, "1." + "1" * 41, "1e5", "INF", "NaN", "1_0", "１", "0x1", "--1", ""]
)
def test_a_number_of_a_mapping_has_a_bounded_form(text: str) -> None:
    assert DECIMAL.fullmatch(text) is None


def test_the_largest_number_of_a_mapping_is_exact() -> None:
    text = "-" + "9" * 40 + "." + "9" * 40
    assert DECIMAL.fullmatch(text)
    assert str(Decimal(text)) == text


def test_a_moment_is_measured_before_it_is_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    element = parse_xml(b"<a>2026-11-20T09:00:00.5Z</a>")
    assert read_instant(element).microsecond == 500_000
    monkeypatch.setattr("gateway.wire.xml_instants._FORM", None)
    for text in ("2026-11-20T09:00:00." + "1" * 5000, " " * 129):
        element.text = text
        with pytest.raises(gateway.errors.GatewayError, match="128 characters"):
            read_instant(element)


#: Where text becomes a number or a date, and why what it is made of is bounded.
READ = {
    "web/console/console_application.py": "a status of the catalogue",
    "web/console/page_formats.py": "seconds of our own; by patterns, years from 1971 to 2998",
    "web/wsgi_application.py": "by the pattern, at most five digits; at most nine ASCII digits",
    "web/server/request_bodies.py": "at most 18 ASCII digits",
    "wire/header_fields.py": "at most eight hexadecimal digits, by the pattern",
    "wire/wco_pointers.py": "by the pattern; a line number of libxml2",
    "wire/yaml_nodes.py": "at most ten ASCII digits",
    "wire/schema_sets.py": "a line number of libxml2",
    "wire/schema_validation.py": "a line number of libxml2",
    "encryption/encrypted_data.py": "at most 64 ASCII digits",
    "protocols/element_reader.py": "by the pattern, at most 128 characters",
    "protocols/as4/fragment_header.py": "at most 15 ASCII digits, by the pattern",
    "protocols/ebms2/header_blocks.py": "at most 32 digits, by the pattern",
    "xmlsec/algorithms.py": "the length of a digest of our own library",
    "xmlsec/key_info.py": "at most 50 ASCII digits",
    "xmlsec/wss.py": "by the pattern",
    "xmlsec/xades.py": "by the pattern",
    "wire/xml_instants.py": "checked against the schema before",
    "web/agency_service.py": "checked against the schema before",
    "web/server_settings.py": "a setting",
    "web/server/process_supervision.py": "a setting",
    "web/server/request_gate.py": "a setting; seconds of a clock",
    "web/server/connection_limits.py": "a port, from the operating system",
    "web/server/request_head.py": "a port, from our own server; digits, by the pattern",
    "web/server/tls_terminator.py": "a constant",
    "web/server/child_process.py": "a setting",
    "web/request_texts.py": "ASCII digits, as many as a row number or a position has, by the pattern",
    "web/api/event_operations.py": "a row of our own; a row of our own",
    "web/api/case_operations.py": "the time until which a case is held, which the hub wrote",
    "web/api/api_operations.py": "by the pattern",
    "web/api/access_tokens.py": "a setting",
    "web/console/filing/draft_service.py": "a row of our own",
    "web/console/filing/form_input.py": "the items of a draft, which the page made",
    "web/console/filing/form_view.py": "a truth, and times of ISO 8601; the ends of the calendar are caught",
    "web/console/following/case_pages.py": "ASCII digits; a held time that the hub wrote",
    "web/console/following/case_view.py": "the time until which a case is held, which the hub wrote",
    "web/console/oidc_pages.py": "a setting",
    "web/console/operations/act_pages.py": "fewer than 18 ASCII digits",
    "web/console/operations/object_pages.py": "fewer than 18 ASCII digits",
    "web/console/operations/status_pages.py": "a clock; a constant",
    "web/console/work/act_pages.py": "a status of the catalogue",
    "web/console/work/proposal_pages.py": "a status of the catalogue",
    "web/console/statistics_pages.py": "rows of our own",
    "web/console/work/work_pages.py": "at most 18 ASCII digits, and a form of our own",
    "web/officers/application_view.py": "a row of our own",
}


def test_every_place_that_converts_was_read() -> None:
    found = set()
    base = Path(gateway.__file__).parent
    for room in ("wire", "protocols", "xmlsec", "encryption", "web"):
        for path in (base / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = getattr(
                    getattr(node, "func", None), "id", getattr(getattr(node, "func", None), "attr", "")
                )
                if isinstance(node, ast.Call) and name in (
                    "int",
                    "float",
                    "Decimal",
                    "fromisoformat",
                    "strptime",
                ):
                    found.add(path.relative_to(base).as_posix())
    assert found <= set(READ), f"read how these bound what they convert, and say so here: {found - set(READ)}"
