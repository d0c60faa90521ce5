"""The verdict on a signer is read from the evidence, and evidence that was changed is no verdict."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from gateway.evidence import record_evidence
from gateway.store import NewVerdict, messages, payloads, verdicts, write_transaction
from gateway.store.transitions import evidence
from gateway.web.console.following.case_signatures import list_agency_statements, verify_own_document
from tests.kit.console import Console
from tests.kit.databases import BOTH
from tests.kit.rows import NOW, later
from tests.kit.story import Story


@BOTH
@pytest.mark.parametrize("status", ["valid", "invalid", "indeterminate"])
def test_the_verdict_of_a_statement_is_the_stored_one(engine: Engine, status: str) -> None:
    with write_transaction(engine) as conn:
        digest = payloads.store_payload(conn, b"{}", NOW)
        verdict = NewVerdict(digest, "a" * 64, "signing", status, None, False, NOW, NOW + timedelta(1), 1)
        verdicts.insert_verdict(conn, verdict)
        said = {"agency": "KR-A", "signer": "a" * 64, "verdict": digest}
        record_evidence(conn, "reply", "request", 7, "b" * 64, said, later(5))
        record_evidence(conn, "notice", "request", 7, None, {"agency": "KR-A", "number": "N1"}, later(5))
        (one,) = list_agency_statements(conn, 7)
    assert one.notice_numbers == ("N1",)
    assert (one.signature.status, one.signature.judged_at) == (status, NOW)
    assert one.signature.signer == "a" * 16


def test_a_statement_without_a_stored_verdict_is_not_called_valid(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        said = {"agency": "KR-A", "signer": "a" * 64, "verdict": "c" * 64}
        record_evidence(conn, "reply", "request", 7, "b" * 64, said, NOW)
        (one,) = list_agency_statements(conn, 7)
    assert one.signature.status == "unknown"


def test_evidence_that_was_changed_is_not_called_valid(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        record_evidence(conn, "reply", "request", 7, "b" * 64, {"signer": "a" * 64}, NOW)
        conn.execute(evidence.update().values(data='{"signer":"d"}'))
        (one,) = list_agency_statements(conn, 7)
    assert (one.signature.status, one.signature.problem) == ("invalid", "GW805")


def test_a_document_without_a_signature_is_not_ours() -> None:
    assert verify_own_document(b"<Result/>", NOW, frozenset()).status == "invalid"


def test_pages_show_each_verdict_with_its_problem(story: Story, console: Console) -> None:
    story.submit()
    story.tick()
    case, now = story.case(), story.clock()
    with write_transaction(story.house.engine) as conn:
        row = messages.find_by_id(conn, case.message)
        assert row is not None
        signer = row.signer_sha256
        assert signer is not None
        for epoch, status, problem in ((1, "indeterminate", "GW206"), (2, "invalid", "GW204")):
            digest = payloads.store_payload(conn, status.encode(), now)
            verdict = NewVerdict(
                digest, signer, "signing", status, problem, False, now, now + timedelta(1), epoch
            )
            verdicts.insert_verdict(conn, verdict)
            record_evidence(conn, "NRO", "message", case.message, None, {"verdict": digest}, now)
    console.add_account("han", ("party", "broker1"), "viewer")
    console.add_account("root", ("operator", "operator"), "observer")
    page = console.enter("han").get(f"/console/cases/{case.number}").text
    assert "Signature could not be judged GW206" in re.sub("</span> ", " ", page)
    assert "Signature not valid GW204" in re.sub("</span> ", " ", page)
    assert page.count("; certificate judged <time") == 2
    page = console.enter("root").get(f"/console/operations/messages/{case.message}").text
    assert f"<code>{digest}</code></dd>" in page
    assert '<span class="state bad">✗ invalid</span>' in page
    assert '<a href="/console/operations/problems/GW204">' in page
