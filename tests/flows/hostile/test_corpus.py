"""The hostile corpus against this gateway, and against gateways that are broken on purpose."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from gateway.cli import main
from gateway.errors import PMODE_UNKNOWN, GatewayError
from gateway.message_model import PartyId
from gateway.pki import read_certificate, read_revocation_lists
from gateway.web import build_application
from gateway_conformance.hostile import (
    LAW,
    Answer,
    AttackCase,
    AttackerKit,
    AttackRunner,
    HttpRequest,
    SuiteReport,
    WsgiTarget,
    make_partner_folder,
    read_attacker_kit,
    select_cases,
)
from gateway_conformance.hostile.answer_evaluation import AnswerSummary, summarize_answer
from gateway_conformance.hostile.attack_table import load_all_cases
from gateway_conformance.hostile.exchange import (
    ACCEPTED,
    FACES,
    LAWFUL,
    Exchange,
    Step,
    WrongAnswerError,
    expect_refusal_codes,
)
from gateway_conformance.hostile.naive_verifier import accepts_request
from gateway_conformance.hostile.runner import FAILED, NOT_YET, PASSED
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from gateway_conformance.verbs.conformance_home import invite_suite
from gateway_conformance.verbs.demo_stage import Stage, read_cast
from tests.flows.hostile.sample_kit import choose_one_of_each
from tests.kit.paths import ROOT
from tests.kit.source_tree import CONFORMANCE, get_module_name

Opponents = tuple[AttackerKit, WsgiTarget]
SAMPLE = choose_one_of_each(case for case in load_all_cases() if not case.feature)
#: Those over AS4 are played by test_as4.
PLAYED = tuple(case for case in load_all_cases() if case.face != "as4")


def told(report: SuiteReport, verdict: str) -> list[str]:
    return [f"{one.id}: {one.got}" for one in report.results if one.verdict == verdict]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(choose_one_of_each(PLAYED), id="one of each attack"),
        pytest.param(PLAYED, id="every case", marks=pytest.mark.night),
    ],
)
def test_no_attack_passes_this_gateway(opponents: Opponents, cases: tuple[AttackCase, ...]) -> None:
    report = AttackRunner(*opponents, control_interval=100).run_cases(cases)
    assert not told(report, FAILED)
    open_ = told(report, NOT_YET)
    print("\n".join(open_))
    # What is not played here has a reason, and it is not that the control was refused.
    assert all("needs a URL" in one or "is not said to have" in one for one in open_), open_
    assert report.count_verdict(PASSED) > 0.9 * len(cases)
    assert report.is_successful


def test_more_than_1000_cases_are_played() -> None:
    assert len(PLAYED) > 1000


def test_ids_are_unique_and_every_case_says_what_it_is() -> None:
    ids = [case.id for case in load_all_cases()]
    assert len(set(ids)) == len(ids)
    for case in load_all_cases():
        assert case.title
        assert case.source
        assert case.face in FACES
        assert "." in case.id


def test_no_case_is_left_out_of_the_corpus() -> None:
    known = {case.id for case in load_all_cases()}
    for path in (CONFORMANCE / "hostile").rglob("*.py"):
        module = import_module(get_module_name(path))
        brought = [one for one in vars(module).values() if isinstance(one, tuple) and one]
        cases = [case for one in brought for case in one if isinstance(case, AttackCase)]
        assert {case.id for case in cases} <= known, path.name


def test_the_manual_names_every_feature_that_a_case_asks_for() -> None:
    page = (ROOT / "gateway" / "manual" / "hostile.md").read_text(encoding="utf-8")
    features = {case.feature for case in load_all_cases()} - {""}
    assert features
    assert all(f"`{feature}`" in page for feature in features), features


def answering(
    status: str, body: bytes, kind: str = "text/xml"
) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """Return a gateway that says the same to everybody."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        start_response(status, [("Content-Type", kind)])
        return [body]

    return application


EMPTY = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>'
YES = [("200 OK", EMPTY), ("200 OK", b""), ("202 Accepted", b"ok")]


@pytest.mark.night
@pytest.mark.parametrize("answer", YES)
def test_a_gateway_that_accepts_everything_fails(opponents: Opponents, answer: tuple[str, bytes]) -> None:
    """It acknowledges what is honest as it should, and says yes to everything else."""
    bench, target = opponents
    broken = WsgiTarget(Broken(target.application, lambda: answer), bench.faces)
    report = AttackRunner(bench, broken).run_cases(SAMPLE)
    played = [one for one in report.results if "needs a URL" not in one.got]
    refusals = [one for one in played if one.expected.startswith("refused")]
    assert len(refusals) >= 40
    assert {one.verdict for one in refusals} == {FAILED}
    assert not report.is_successful


@pytest.mark.parametrize("answer", YES)
def test_a_gateway_that_says_yes_without_proof_is_not_judged(
    opponents: Opponents, answer: tuple[str, bytes]
) -> None:
    """A status 200 is no Acknowledgment: a proxy that swallows everything would pass for a gateway."""
    bench, _ = opponents
    report = AttackRunner(bench, WsgiTarget(answering(*answer), bench.faces), recovery_timeout=0).run_cases(
        SAMPLE
    )
    assert {one.verdict for one in report.results} == {NOT_YET}
    assert sum("answered without proof" in one.got for one in report.results) >= 40
    assert not report.is_successful


class Forging:
    """The gateway of the house, whose Acknowledgments and answers are changed on their way."""

    def __init__(self, target: WsgiTarget, change: Callable[[bytes], bytes]) -> None:
        self.name = "forging"
        self._target = target
        self._change = change

    def send(self, step: Step) -> Answer:
        answer = self._target.send(step)
        return replace(answer, body=self._change(answer.body))


@pytest.mark.parametrize(
    ("pattern", "new"),
    [
        (rb"<ds:Signature\b.*</ds:Signature>", b""),
        (rb"(<eb:RefToMessageId>|<wsa:RelatesTo\b[^>]*>)[^<]*", rb"\1other@x"),
        (rb"(<ds:SignatureValue>)....", rb"\1AAAA"),
        (rb"<eb:Acknowledgment .*</eb:Acknowledgment>|<soap:Body.*</soap:Body>", b"<soap:Body/>"),
    ],
    ids=["unsigned", "of-another", "forged", "empty"],
)
@pytest.mark.parametrize("face", ["ebms2", "soap"])
def test_an_acceptance_must_be_signed_and_about_what_was_sent(
    opponents: Opponents, face: str, pattern: bytes, new: bytes
) -> None:
    bench, target = opponents
    changed = 0

    def change(body: bytes) -> bytes:
        nonlocal changed
        other, count = re.subn(pattern, new, body, flags=re.DOTALL)
        changed += count
        return other

    control = AttackRunner(bench, Forging(target, change), recovery_timeout=0)._check_control(face)
    assert changed
    assert "answered without proof" in control


def test_the_acknowledgment_of_another_message_is_none(opponents: Opponents) -> None:
    """Signed by the gateway, and about something else: what a replay on the way would be."""
    bench, target = opponents
    kept = {"ebms2": target.send(bench.build_message()), "soap": target.send(bench.build_call())}

    class Replaying:
        name = "replaying"

        def send(self, step: Step) -> Answer:
            return kept[step.face]

    for face in kept:
        assert "answered without proof" in AttackRunner(
            bench, Replaying(), recovery_timeout=0
        )._check_control(face)


def test_a_gateway_that_refuses_everything_proves_nothing(opponents: Opponents) -> None:
    bench, _ = opponents
    target = WsgiTarget(answering("500 Internal Server Error", b"oh"), bench.faces)
    report = AttackRunner(bench, target, recovery_timeout=0).run_cases(SAMPLE)
    assert {one.verdict for one in report.results} == {NOT_YET}
    assert all("control not accepted" in one.got or "needs" in one.got for one in report.results)
    assert not report.is_successful


class Broken:
    """The gateway of the house, spoiled: what it refuses is answered by `spoil`."""

    def __init__(self, inner: Any, spoil: Callable[[], tuple[str, bytes]]) -> None:
        self._inner = inner
        self._spoil = spoil
        self.dead = False

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.dead:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"gone"]
        heard: dict[str, Any] = {}

        def hear(status: str, headers: list[tuple[str, str]]) -> None:
            heard.update(status=status, headers=headers)

        body = b"".join(self._inner(environ, hear))
        if b"ErrorList" in body or b"Fault" in body:
            status, body = self._spoil()
            start_response(status, [("Content-Type", "text/html")])
            return [body]
        start_response(heard["status"], heard["headers"])
        return [body]


class Naive:
    """A gateway that verifies as many do: by what the naive verifier of the suite takes.

    What is honest it acknowledges, as the gateway of the house does for it.
    """

    name = "naive"

    def __init__(self, house: WsgiTarget) -> None:
        self._house = house

    def send(self, step: Step) -> Answer:
        # Which part is the envelope: some ask the start parameter, some take the first.
        if not (isinstance(step, HttpRequest) and (accepts_request(step) or accepts_request(step, "first"))):
            return Answer(400, {}, b"no")
        answer = self._house.send(step)
        return answer if summarize_answer(answer).is_acceptance else Answer(200, {}, b"")


@pytest.mark.night
def test_a_naive_gateway_fails_every_case_that_is_said_to_fool_it(opponents: Opponents) -> None:
    bench, target = opponents
    cases = [case for case in load_all_cases() if case.naive]
    assert len(cases) >= 63
    report = AttackRunner(bench, Naive(target), control_interval=1000).run_cases(cases[::5])
    attacks = [one for one in report.results if one.expected.startswith("refused")]
    assert len(attacks) >= 20
    assert all(one.verdict == FAILED and one.got.startswith("accepted") for one in attacks)


TRACE = b"<pre>Traceback (most recent call last):\n  File x\nValueError</pre>"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (("500 Internal Server Error", TRACE), "traceback"),
        (("500 Internal Server Error", b"oops"), "no refusal as expected"),
        (("302 Found", b""), "no refusal as expected"),
        (("200 OK", b"<html/>"), "accepted"),
    ],
)
def test_a_gateway_that_refuses_badly_fails(
    opponents: Opponents, answer: tuple[str, bytes], why: str
) -> None:
    bench, target = opponents
    broken = WsgiTarget(Broken(target.application, lambda: answer), bench.faces)
    report = AttackRunner(bench, broken).run_cases(select_cases("SIG-0[1-3].*")[:12])
    assert report.count_verdict(FAILED) == 12
    assert all(why in one for one in told(report, FAILED))


def test_a_gateway_that_an_attack_brings_down_fails(opponents: Opponents) -> None:
    bench, target = opponents
    broken = Broken(target.application, lambda: ("400 Bad Request", b""))
    inner = broken._spoil

    def die() -> tuple[str, bytes]:
        broken.dead = True
        return inner()

    broken._spoil = die

    def play(bench: AttackerKit) -> Any:
        yield Exchange(bench.build_message(signer="stranger"), expect_refusal_codes(http=(400,)))

    case = AttackCase("SIG-30.any", "signed by a stranger", "ebms2", "this test", play)
    result = AttackRunner(bench, WsgiTarget(broken, bench.faces), recovery_timeout=0).run_case(case)
    assert result.verdict == FAILED
    assert "afterwards an honest message" in result.got
    # Of what follows nothing can be said; it is not asked for ever; one that comes back is judged again.
    runner = AttackRunner(bench, WsgiTarget(broken, bench.faces), recovery_timeout=0)
    broken.dead = False
    following = [runner.run_case(case) for _ in range(4)]
    assert [one.verdict for one in following] == [FAILED, NOT_YET, NOT_YET, NOT_YET]
    broken.dead, broken._spoil = False, inner
    assert runner.run_case(case).verdict == PASSED
    broken._spoil = die
    asked = [runner.run_case(case).verdict for _ in range(12)]
    assert asked == [FAILED] + 11 * [NOT_YET]
    broken.dead, broken._spoil = False, inner
    assert runner.run_case(case).verdict == NOT_YET


def a_case(expected: Any, **hooks: Any) -> AttackCase:
    def play(bench: AttackerKit) -> Any:
        yield Exchange(bench.build_message(**hooks), expected)

    return AttackCase("SIG-30.any", "signed by somebody", "ebms2", "this test", play)


STRANGER = expect_refusal_codes("GW209", ebms=("SecurityFailure",), faults=("FailedAuthentication",))


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (a_case(ACCEPTED), PASSED),
        (a_case(STRANGER, signer="stranger"), PASSED),
        (a_case(replace(STRANGER, problems=()), signer="stranger"), PASSED),
        (a_case(replace(STRANGER, problems=("GW202",)), signer="stranger"), FAILED),
        (a_case(replace(STRANGER, ebms=("Inconsistent",)), signer="stranger"), FAILED),
        (a_case(expect_refusal_codes(http=(400,)), signer="stranger"), FAILED),
        (a_case(STRANGER), FAILED),
        (a_case(LAWFUL, signer="stranger"), FAILED),
        (a_case(ACCEPTED, signer="stranger"), NOT_YET),
        (a_case(ACCEPTED, signer="nobody"), NOT_YET),
        (replace(a_case(ACCEPTED), feature="time travel"), NOT_YET),
    ],
)
def test_verdicts(opponents: Opponents, case: AttackCase, verdict: str) -> None:
    assert AttackRunner(*opponents).run_case(case).verdict == verdict


@pytest.mark.parametrize("unmade", [LookupError("no SyncReply"), GatewayError(PMODE_UNKNOWN, "no Store")])
def test_what_cannot_be_made_of_an_agreement_ends_no_run(opponents: Opponents, unmade: Exception) -> None:
    def play(bench: AttackerKit) -> Any:
        yield Exchange(bench.build_message(), ACCEPTED)
        raise unmade

    cases = [
        AttackCase("REP-01.any", "unmade", "ebms2", "this test", play),
        a_case(STRANGER, signer="stranger"),
    ]
    report = AttackRunner(*opponents).run_cases(cases)
    assert [one.verdict for one in report.results] == [NOT_YET, PASSED]
    assert str(unmade) in report.results[0].got


#: Another house's agreement: the least that the manual asks for, and other words for everything else.
OTHERS = (
    ("sync_reply_mode: mshSignalsOnly", "sync_reply_mode: none"),
    ("duplicate_elimination: always", "duplicate_elimination: never"),
    ("role: Applicant", "role: urn:example:roles:sender"),
    ("role: Hub", "role: urn:example:roles:receiver"),
    ("service: {type: suite, value: store}", "service: urn:example:services:any"),
)
UNUSED = re.compile(r"^  - \{id: suite-\w-(submit|result|notice).*\n", re.MULTILINE)


def test_a_case_is_played_or_said_not_to_be_whatever_was_agreed(tmp_path: Path) -> None:
    """By an agreement of somebody else's, against a gateway that answers anything."""
    at = datetime.now(UTC)
    authority = make_authority("CN=Sample CA", at - timedelta(days=1))
    gateway = issue_certificate(authority, "CN=gateway", at, CertificateOrder()).certificate
    make_partner_folder(
        authority, (gateway,), (PartyId("gateway", "urn:example:party-type"),), at
    ).write_files(tmp_path)
    for member in ("a", "b"):
        path = tmp_path / f"{member}.agreement.yaml"
        text, count = UNUSED.subn("", path.read_text(encoding="utf-8"))
        assert count == 3
        for old, new in OTHERS:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    bench = read_attacker_kit(tmp_path)
    runner = AttackRunner(bench, WsgiTarget(answering("200 OK", EMPTY), bench.faces), recovery_timeout=0)
    runner.control_problems = {"ebms2": "", "soap": ""}
    chosen_ones = load_all_cases()[::5]
    results = [runner.run_case(case, probes_after=False) for case in chosen_ones]
    unmade = [one.id for one in results if "cannot be made" in one.got]
    assert 0 < len(unmade) < len(results) / 20, unmade
    # It says yes to everything: most attacks fail it, by whatever agreement.
    assert Counter(one.verdict for one in results)[FAILED] > len(results) / 2


def test_a_play_may_find_fault_itself(opponents: Opponents) -> None:
    def play(bench: AttackerKit) -> Any:
        yield Exchange(bench.build_message(), ACCEPTED)
        raise WrongAnswerError("two answers differ")

    result = AttackRunner(*opponents).run_case(AttackCase("REP-01.any", "twice", "ebms2", "this test", play))
    assert (result.verdict, result.got) == (FAILED, "two answers differ")


@pytest.mark.night
def test_a_home_that_works_already_can_be_invited_into_again_and_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "home", read_cast())
    stage.build()
    settings, cases = stage.settings(), select_cases("SIG-0[12].*")[:6]
    for out in (tmp_path / "one", tmp_path / "two"):
        invite_suite(settings, out)
        bench = read_attacker_kit(out)
        report = AttackRunner(bench, WsgiTarget(build_application(settings), bench.faces)).run_cases(cases)
        assert report.count_verdict(PASSED) == len(cases) == 6
        # The control of the other face needs the case that the invitation opened.
        assert (
            AttackRunner(bench, WsgiTarget(build_application(settings), bench.faces))._check_control("soap")
            == ""
        )
    # What an earlier invitation revoked stays revoked.
    (listed,) = read_revocation_lists((tmp_path / "two" / "crl.pem").read_bytes())
    serials = {one.serial_number for one in x509.load_der_x509_crl(listed.der)}
    gone = [read_certificate((tmp_path / out / "revoked.cert.pem").read_bytes()) for out in ("one", "two")]
    assert {one.serial for one in gone} <= serials
    assert {path.stat().st_mode & 0o77 for path in (tmp_path / "one").glob("*.key.pem")} == {0}


def test_the_agency_of_the_suite_may_decide_about_its_application(opponents: Opponents) -> None:
    bench, target = opponents
    words = (
        f"<ApplicationNumber>{bench.application_number}</ApplicationNumber><NoticeNumber>{{}}</NoticeNumber>"
        f"<IssuedAt>{bench.write_issue_time()}</IssuedAt><StatusCode>R01</StatusCode>"
        "<Decision><item>{}</item><law>{}</law><decision>APPROVED</decision></Decision>"
    )

    def decided(*values: object) -> AnswerSummary:
        return summarize_answer(target.send(bench.build_call("SubmitDecision", words.format(*values))))

    assert decided("N1", 2, LAW).problem_ids == ("GW404",)
    assert decided("N2", 1, "OTHER").problem_ids == ("GW404",)
    assert decided("N3", 1, LAW).is_acceptance
    # And may acknowledge it again and again all the same.
    assert AttackRunner(bench, target)._check_control("soap") == ""


@pytest.mark.parametrize("who", ["expired", "revoked", "encryption", "stranger", "selfsigned"])
def test_keys_of_the_partner_folder_that_are_not_good(opponents: Opponents, who: str) -> None:
    problems = {"expired": "GW206", "revoked": "GW207", "encryption": "GW205"}
    expected = expect_refusal_codes(problems.get(who, "GW209"), ebms=("SecurityFailure",))
    assert AttackRunner(*opponents).run_case(a_case(expected, signer=who)).verdict == PASSED


def test_the_table_and_the_list_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "table"]) == 0
    assert capsys.readouterr().out.count("\n") == 2 * 91
    assert main(["conformance", "table", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 91
    assert set(rows[0]) == {"id", "title", "source", "expected", "cases", "tests", "not_yet"}
    assert main(["conformance", "list", "--only", "SIG-01.*", "--json"]) == 0
    found = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    assert found == [case.id for case in select_cases("SIG-01.*")]
    assert found


@pytest.mark.parametrize(
    "words",
    [
        ["--only", "NOTHING-*"],
        ["--partner", "x"],
        ["--every", "0"],
        ["--url", "http://127.0.0.1:9", "--partner", "/nowhere"],
        ["--url", "gopher://x"],
        ["--url", "http://127.0.0.1:99999"],
        ["--url", "http://[no-address"],
        ["--has", "time travel"],
    ],
)
def test_misuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "run", "hostile", *words]) == 2
    assert capsys.readouterr().err.startswith("gateway: GW808")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("suite.toml", b"[[["),
        ("suite.toml", b"features = 3"),
        ("suite.toml", b"soap = 3"),
        ("suite.toml", b"[ebms2]\npath = 7"),
        ("a.key.pem", b"no key"),
        ("b.cert.pem", b"no certificate"),
        ("crl.pem", b"no list"),
        ("b.agreement.yaml", b""),
        ("hub.cert.pem", None),
    ],
)
def test_a_partner_folder_that_is_none_is_misuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    folder = tmp_path / "partner"
    at = datetime.now(UTC)
    authority = make_authority("CN=Any", at - timedelta(days=1))
    gateway = issue_certificate(authority, "CN=gateway", at, CertificateOrder()).certificate
    drawn = make_partner_folder(authority, (gateway,), (PartyId("gateway", "urn:any"),), at)
    drawn.write_files(folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    command = ["conformance", "run", "hostile", "--url", "http://127.0.0.1:9", "--partner", str(folder)]
    assert main([*command, "--only", "SIG-01.*"]) == 2
    assert capsys.readouterr().err.startswith("gateway: GW808")
    with pytest.raises(GatewayError, match="cannot be written"):
        drawn.write_files(folder / "suite.toml" / "below")


@pytest.mark.long
def test_by_url(served: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, url = served
    partner = tmp_path / "partner"
    assert main(["conformance", "invite", "--home", str(home), "--out", str(partner)]) == 0
    capsys.readouterr()
    command = ["conformance", "run", "hostile", "--url", f"{url}/msh/ebms2", "--json", "--every", "5"]
    for glob in ("SIG-0[147].*", "*.in-header*"):
        assert main([*command, "--partner", str(partner), "--only", glob]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["suite"] == "hostile"
        assert report["passed"] == len(report["cases"]) > 0
        assert report["failed"] == report["not_yet"] == 0


def test_an_honest_notice_of_customs_is_accepted_again_on_another_day(opponents: Opponents) -> None:
    bench, target = opponents
    for days in (0, 0, 1):
        later = replace(bench, clock=lambda days=days: datetime.now(UTC) + timedelta(days=days))
        answer = summarize_answer(target.send(later.build_customs_call(now=bench.get_current_time())))
        assert answer.is_acceptance, (days, answer)
