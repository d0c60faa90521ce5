"""Reports of a run: what a gateway sent is shown and never obeyed; a signature proves one report only."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree, html

from gateway.agreements import convert_cpa, read_cpa
from gateway.cli import main
from gateway.errors import GatewayError
from gateway.pki import Signer, encode_key_pem, read_certificate
from gateway_conformance.foreign_verifier import find_signature_fault
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from gateway_conformance.reports import (
    CaseReport,
    ExchangeLog,
    RunReport,
    record_message,
    sign_report,
    verify_report,
    write_html_report,
    write_junit_report,
)
from gateway_conformance.standard import read_suite_profile
from gateway_conformance.standard.suite_requirement import read_requirements

NASTY = "<script>alert(1)</script>\x00\x1b[31m\u202e&\"'"


@pytest.fixture(scope="module")
def signer() -> Signer:
    at = datetime.now(UTC)
    authority = make_authority("CN=Tester CA", at - timedelta(days=1))
    return issue_certificate(authority, "CN=Tester", at, CertificateOrder()).signer


@pytest.fixture(scope="module")
def report() -> RunReport:
    log = ExchangeLog()
    body = NASTY.encode() + b"\xff\xfe" + b"x" * 70_000
    log.add_exchange(record_message(NASTY, {NASTY: NASTY}, body), None, NASTY)
    facts = {"clause": "3.1.1", "iic": ["r1.1.1"]}
    cases = [
        CaseReport("A-01", NASTY, NASTY, NASTY, "failed", 0.5, facts, log.list_exchanges()),
        CaseReport("A-02", "good", "this", "", "passed", 0.1, {"clause": "B.2"}),
        CaseReport("A-03", "absent", "this", "not declared", "not_applicable"),
        CaseReport("A-04", "advice", "this", "not so", "advised"),
    ]
    return RunReport("ebms2", NASTY, tuple(cases), {"gateway": NASTY})


def test_a_page_shows_everything_and_obeys_nothing(report: RunReport) -> None:
    page = write_html_report(report)
    tree = html.document_fromstring(page)
    assert tree.xpath("//script | //img | //link | //iframe | //*[@onclick or @onerror or @src]") == []
    assert not set(page.decode()) & {"\x00", "\x1b", "\u202e"}
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert str(policy).startswith("default-src 'none'")
    text = tree.text_content()
    assert "<script>alert(1)</script>\\u0000\\u001b[31m\\u202e" in text
    assert "\\xff\\xfe" in text
    assert "more octets; SHA-256 of the whole body" in text
    assert {"#case-A-01"} <= {str(one) for one in tree.xpath("//a/@href")}


def test_junit_counts_and_says_why(report: RunReport) -> None:
    suite = etree.fromstring(write_junit_report(report)).find("testsuite")
    assert suite is not None
    counts = [suite.get(name) for name in ("tests", "failures", "skipped", "errors")]
    assert counts == ["4", "1", "1", "0"]
    assert [one.tag for case in suite for one in case] == ["failure", "skipped", "system-out"]
    assert not report.is_successful


def test_a_signature_is_of_one_report(report: RunReport, signer: Signer) -> None:
    page = write_html_report(report)
    signature = sign_report("r.html", page, signer, datetime.now(UTC))
    assert find_signature_fault(signature, signer.certificate, datetime.now(UTC)) is None
    signed = verify_report(page, signature)
    assert (signed.file, signed.certificate.sha256) == ("r.html", signer.certificate.sha256)
    with pytest.raises(GatewayError, match="GW903"):
        verify_report(page + b" ", signature)
    with pytest.raises(GatewayError, match="GW2"):
        verify_report(page, signature.replace(b"r.html", b"s.html"))
    with pytest.raises(GatewayError, match="GW903"):
        verify_report(page, b"<other/>")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("features: [speed]", "'speed' is no feature"),
        ("feature: [ping]", "'feature' is no key"),
        ("features: ping", "a list of names"),
        ("- ping", "a mapping"),
        ("patience: long", "0.1 to 120"),
        ("message: Store", "message is a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_profile_is_told(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GatewayError, match="GW902") as caught:
        read_suite_profile(path)
    assert told in str(caught.value)


@pytest.mark.night
def test_there_are_more_than_two_hundred_requirements_each_with_a_clause() -> None:
    rows = read_requirements()
    assert len(rows) > 360
    assert all(one.clause and one.title and one.expectation for one in rows)
    numbers = {number for one in rows for number in one.iic}
    assert {"r0.1.1", "semreq-10", "semreq-15", "semreq-74"} | {f"r1.1.{n}" for n in range(1, 14)} <= numbers


@pytest.mark.refusal("a tester starts a suite with wrong options")
def test_misuse_is_told_before_anything_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["conformance", "run", "ebms2"]
    named = ["--url", "http://127.0.0.1:9", "--agreement", "a"]
    for more, told in (
        ([], "needs --url"),
        (["--url", "http://127.0.0.1:9"], "needs --agreement"),
        (
            [*named, "--partner", str(tmp_path / "no")],
            "invite ebms2",
        ),
        ([*named, "--sign", "k.pem"], "--html"),
        (["--only", "X-*"], "no requirement"),
    ):
        assert main([*words, *more]) == 2
        assert told in capsys.readouterr().err


def test_a_signer_that_was_not_checked_is_told(
    signer: Signer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, anchor = tmp_path / "r.html", tmp_path / "tester.pem"
    page.write_bytes(b"<html/>")
    anchor.write_bytes(signer.certificate.pem)
    page.with_name("r.html.signature.xml").write_bytes(
        sign_report(page.name, b"<html/>", signer, datetime.now(UTC))
    )
    assert main(["conformance", "verify", str(page)]) == 0
    assert "Who that is was not checked" in capsys.readouterr().out
    assert main(["conformance", "verify", str(page), "--trust", str(anchor)]) == 0
    assert "not checked" not in capsys.readouterr().out


@pytest.mark.night
def test_a_gateway_of_another_make_is_invited_without_a_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = datetime.now(UTC)
    authority = make_authority("CN=Their CA", at - timedelta(days=1))
    own = issue_certificate(authority, "CN=gateway", at, CertificateOrder()).certificate
    (tmp_path / "g.pem").write_bytes(own.pem)
    words = ["conformance", "invite", "ebms2", "--out", str(tmp_path / "partner")]
    words += ["--certificate", str(tmp_path / "g.pem")]
    assert main([*words, "--url", "http://gateway.example.org/msh"]) == 2
    assert main([*words, "--party", "urn:osb:oin|1", "--url", "http://gateway.example.org/msh"]) == 0
    for kind in ("sync", "async", "choice", "order"):
        assert (tmp_path / "partner" / "cpa" / f"{kind}.xml").read_bytes().startswith(b"<?xml")
        assert (tmp_path / "partner" / "agreements" / f"{kind}.yaml").is_file()
    capsys.readouterr()
    run = ["conformance", "run", "ebms2", "--url", "http://127.0.0.1:9", "--seconds", "1"]
    agreement = tmp_path / "partner" / "agreements" / "sync.yaml"
    assert main([*run, "--partner", str(tmp_path / "partner"), "--agreement", str(agreement)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "nothing accepts a connection at http://127.0.0.1:9" in printed.err


@pytest.mark.night
def test_the_hostile_suite_writes_the_same_reports(signer: Signer, tmp_path: Path) -> None:
    key = tmp_path / "tester.key.pem"
    key.write_bytes(encode_key_pem(signer.key))
    (tmp_path / "tester.cert.pem").write_bytes(signer.certificate.pem)
    files = {name: tmp_path / f"r.{name}" for name in ("junit", "html", "json")}
    words = ["conformance", "run", "hostile", "--only", "SIG-37.*", "--sign", str(key)]
    outcome = main([*words, *(word for name, path in files.items() for word in (f"--{name}", str(path)))])
    cases = json.loads(files["json"].read_bytes())["cases"]
    assert [case for case in cases if case["verdict"] != "passed"] == []
    assert outcome == 0
    suite = etree.parse(files["junit"]).find("testsuite")
    assert suite is not None
    assert len(suite.findall("testcase")) == len(cases) > 3
    page = html.document_fromstring(files["html"].read_bytes())
    shown = {str(one) for one in page.xpath("//section[@class='case']/@id")}
    assert shown == {f"case-{one['id']}" for one in cases}
    assert page.xpath("//section[@class='case']//pre"), "every exchange is shown in octets"
    trust = ["--trust", str(tmp_path / "tester.cert.pem")]
    assert main(["conformance", "verify", str(files["html"]), *trust]) == 0
    files["html"].write_bytes(files["html"].read_bytes() + b" ")
    assert main(["conformance", "verify", str(files["html"]), *trust]) == 1


@pytest.mark.night
def test_a_gateway_that_decrypts_gets_agreements_with_the_certificates_of_both_sides(tmp_path: Path) -> None:
    at, partner = datetime.now(UTC), tmp_path / "partner"
    authority = make_authority("CN=Their CA", at - timedelta(days=1))
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    (tmp_path / "g.pem").write_bytes(issue_certificate(authority, "CN=gateway", at).certificate.pem)
    secret = issue_certificate(authority, "CN=gateway decrypts", at, order).certificate
    (tmp_path / "e.pem").write_bytes(secret.pem)
    words = [
        "conformance",
        "invite",
        "ebms2",
        "--certificate",
        str(tmp_path / "g.pem"),
        "--party",
        "urn:osb:oin|1",
    ]
    words += ["--url", "http://gateway.example.org/msh"]
    assert main([*words, "--out", str(tmp_path / "plain")]) == 0
    assert not (tmp_path / "plain" / "cpa" / "encrypted.xml").exists()
    assert main([*words, "--out", str(partner), "--encryption-certificate", str(tmp_path / "e.pem")]) == 0
    own = read_certificate((partner / "suite.decryption.cert.pem").read_bytes())
    for kind in ("encrypted", "enveloped"):
        path = partner / "cpa" / f"{kind}.xml"
        pmodes = convert_cpa(read_cpa(path.read_bytes(), path.name))
        pins = {one.action: one.encryption.certificate for one in pmodes if one.encryption is not None}
        assert pins == {"Submit": secret.sha256, "Store": secret.sha256, "Result": own.sha256}
    assert not (partner / "cpa" / "passing.xml").exists()
    assert main([*words, "--out", str(partner), "--encryption-certificate", str(tmp_path / "no.pem")]) == 2
