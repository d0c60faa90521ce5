"""A judgement in a process of its own: the same verdicts, and an end for those that cost too much."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import CERTIFICATE_UNTRUSTED, NO_ROOM, GatewayError, Problem
from gateway.pki import (
    DEFAULT_POLICY,
    MAX_CRLS,
    MAX_RESPONSES,
    CertificateExaminer,
    CertificateUse,
    CertificateValidator,
    RevocationData,
    TrustStore,
    ValidationInput,
    Verdict,
    read_certificate,
    validate_path,
)
from gateway.pki.certificate_examiner import (
    NO_PROCESS_TEXT,
    TIME_LIMIT_TEXT,
    _ExaminerChild,
)
from gateway.pki.examiner_process import decode_verdict, encode_verdict
from gateway_conformance.pki import issue_certificate
from tests.kit.paths import ROOT
from tests.pki.certificate_forgery import DAY, NOW, Forgery, costly_pair, crl, entry
from tests.pki.conftest import World
from tests.pki.test_ocsp import Answer

COSTLY = 300


@pytest.fixture(scope="module")
def examiner() -> Iterator[CertificateExaminer]:
    made = CertificateExaminer()
    yield made
    made.close()


@pytest.mark.long
def test_the_verdict_is_the_one_that_is_found_here(world: World, examiner: CertificateExaminer):
    for lists in (
        (world.root_crl, world.sub_crl),
        (world.root_crl,),
        (world.sub_crl, crl(world.root, [entry(1)])),
    ):
        revocations = RevocationData(lists)
        for party in (world.party, world.outcast):
            octets = party.certificate.der
            there = examiner(octets, CertificateUse.SIGNING, NOW, world.trust, revocations)
            assert there == validate_path(
                party.certificate, NOW, CertificateUse.SIGNING, world.trust, revocations
            )
            alone = examiner.validate_with_input(
                ValidationInput.from_stores(world.trust, revocations), octets, CertificateUse.SIGNING, NOW
            )
            assert alone == there
    junk = examiner(b"words", CertificateUse.SIGNING, NOW, world.trust, world.revocations)
    assert (junk.status, junk.problem) == ("invalid", CERTIFICATE_UNTRUSTED)


@pytest.mark.long
def test_it_reads_as_many_lists_and_answers_as_are_in_force(world: World):
    """Of any cost: so many take half of the limit of time, or all of it where two share a core."""
    somebody = read_certificate(Forgery(serial=9).der(world.sub))
    response = Answer(somebody, world.sub.certificate).der(world.sub.certificate, world.sub.key)
    lists = [RevocationData([listed]) for listed in (world.root_crl, *[world.sub_crl] * MAX_CRLS)]
    answers = [RevocationData((), responses=[response])] * (MAX_RESPONSES + 1)
    many = RevocationData.merge_parts([*lists, *answers])
    patient = CertificateExaminer(budget_seconds=60.0)
    try:
        for party, status in ((world.party, "valid"), (world.outcast, "invalid")):
            octets = party.certificate.der
            assert patient(octets, CertificateUse.SIGNING, NOW, world.trust, many).status == status
    finally:
        patient.close()


def test_a_judge_asks_it_once_for_each_certificate(world: World, examiner: CertificateExaminer):
    asked: list[bytes] = []

    def counting(*question: Any) -> Any:
        asked.append(question[0])
        return examiner(*question)

    judge = CertificateValidator(world.trust, world.revocations, examine=counting)
    octets = world.party.certificate.der
    assert {judge(octets, CertificateUse.SIGNING, NOW).status for _ in range(3)} == {"valid"}
    assert asked == [octets]
    judge.replace_trust(
        revocations=RevocationData([world.root_crl, crl(world.sub, [entry(world.party.certificate.serial)])])
    )
    assert judge(octets, CertificateUse.SIGNING, NOW).status == "invalid"
    assert asked == [octets, octets, octets], "a refusal is examined twice"


def test_a_verdict_that_memory_ran_out_for_stays_transient(world: World):
    """The parent must not remember it as a refusal of the certificate."""
    verdict = Verdict(
        "indeterminate",
        NO_ROOM,
        "no memory is left",
        (world.party.certificate,),
        NOW + DAY,
        NOW,
        tolerated=True,
        evidence=("ab" * 32,),
    )
    assert verdict.is_transient
    received = decode_verdict(json.loads(json.dumps(encode_verdict(verdict))), DEFAULT_POLICY.certificates)
    assert received == verdict


@pytest.mark.long
def test_lists_and_stores_are_sent_once_however_they_take_turns(
    world: World, examiner: CertificateExaminer, monkeypatch: pytest.MonkeyPatch
):
    """Whoever is not known to our own anchors is looked for under those of others, one after another."""
    sent: list[str] = []
    exchange = _ExaminerChild._exchange_message

    def counting(child: _ExaminerChild, message: Any, most: float) -> Any:
        sent.append(message[0])
        return exchange(child, message, most)

    # A new process, which has heard of nothing.
    examiner.close()
    monkeypatch.setattr(_ExaminerChild, "_exchange_message", counting)
    lists, more = RevocationData([world.root_crl, world.sub_crl]), RevocationData([world.root_crl])
    other = issue_certificate(world.root, "Other", NOW).certificate
    octets = world.party.certificate.der
    for _ in range(3):
        found = [
            examiner(
                octets, CertificateUse.SIGNING, NOW, TrustStore((anchor,), (world.sub.certificate,)), lists
            ).status
            for anchor in (world.root.certificate, other)
        ]
        assert found == ["valid", "invalid"]
    assert (sent.count("lists"), sent.count("store"), sent.count("ask")) == (1, 2, 6)
    trust = TrustStore((world.root.certificate,), (world.sub.certificate,))
    assert examiner(octets, CertificateUse.SIGNING, NOW, trust, more).status == "indeterminate"
    assert (sent.count("lists"), sent.count("store")) == (2, 2)
    # More stores than it holds are sent again, and none is taken for another.
    for number in range(20):
        rules = replace(DEFAULT_POLICY, path_most=2 + number % 10)
        verdict = examiner(octets, CertificateUse.SIGNING, NOW, replace(trust, policy=rules), lists)
        assert verdict.status == ("valid" if number % 10 else "invalid")


@pytest.mark.long
def test_what_costs_too_much_is_ended_and_the_next_is_judged(world: World, examiner: CertificateExaminer):
    forged, root = costly_pair(COSTLY)
    leaf = forged.der(root)
    hard = ValidationInput((root.certificate.der,), policy=replace(DEFAULT_POLICY, revocation="none"))
    verdict = examiner.validate_with_input(hard, leaf, CertificateUse.SIGNING, NOW)
    assert (verdict.status, verdict.problem, verdict.reason) == (
        "invalid",
        CERTIFICATE_UNTRUSTED,
        TIME_LIMIT_TEXT,
    )
    # An ordinary certificate takes a small part of the limit, also on a slow machine that measures branches.
    easy = ValidationInput.from_stores(world.trust, world.revocations)
    leaf_of_party = world.party.certificate.der
    assert examiner.validate_with_input(easy, leaf_of_party, CertificateUse.SIGNING, NOW).status == "valid"
    patient = CertificateExaminer(budget_seconds=60.0)
    try:
        # It is the cost alone that was refused.
        assert patient.validate_with_input(hard, leaf, CertificateUse.SIGNING, NOW).reason != TIME_LIMIT_TEXT
    finally:
        patient.close()


@pytest.mark.long
def test_a_process_that_was_killed_is_replaced_with_its_register(world: World, examiner: CertificateExaminer):
    octets, revocations = world.party.certificate.der, world.revocations
    assert examiner(octets, CertificateUse.SIGNING, NOW, world.trust, revocations).status == "valid"
    process = examiner._children[0]._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert examiner(octets, CertificateUse.SIGNING, NOW, world.trust, revocations).status == "valid"
    assert examiner._children[0]._process is not process


def test_a_process_that_cannot_be_started_refuses_nobody_for_good(world: World, monkeypatch: Any):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    verdict = CertificateExaminer()(
        world.party.certificate.der, CertificateUse.SIGNING, NOW, world.trust, world.revocations
    )
    assert (verdict.status, verdict.problem) == ("indeterminate", NO_ROOM)
    assert NO_PROCESS_TEXT in verdict.reason


#: Changes the program of the child: `PROGRAM` is run in it before it begins.
PROGRAM = """
import os, signal, sys
if "gateway.pki.examiner_process" in sys.orig_argv:
    import gateway
    if "MISSING" in os.environ:
        sys.modules["pyhanko_certvalidator"] = None
    from gateway.pki.certificate_validation import OpenedInput
    validate = OpenedInput.validate_certificate
    def judge(self, leaf, *arguments):
        if leaf.hex() == os.environ.get("LEAF"):
            if os.environ["SIGNAL"] == "panic":
                raise BaseException("panic")
            if os.environ["SIGNAL"] == "import":
                raise ImportError("it is exchanged")
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
        return validate(self, leaf, *arguments)
    OpenedInput.validate_certificate = judge
    gateway.__version__ = os.environ.get("VERSION", gateway.__version__)
"""


@pytest.fixture
def changed_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CertificateExaminer]:
    (tmp_path / "sitecustomize.py").write_text(PROGRAM, "utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    made = CertificateExaminer()
    yield made
    made.close()


@pytest.mark.long
@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (str(int(signal.SIGSEGV)), CERTIFICATE_UNTRUSTED),
        ("panic", CERTIFICATE_UNTRUSTED),
        (str(int(signal.SIGKILL)), NO_ROOM),
        (str(int(signal.SIGABRT)), NO_ROOM),
        ("import", NO_ROOM),
    ],
)
def test_who_makes_two_processes_crash_is_refused_and_nobody_else(
    world: World,
    changed_child: CertificateExaminer,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    problem: Problem,
):
    """It would be a shortage of ours for ever; what the system kills may have been short of memory."""
    octets = world.party.certificate.der
    monkeypatch.setenv("LEAF", octets.hex())
    monkeypatch.setenv("SIGNAL", end)
    verdict = changed_child(octets, CertificateUse.SIGNING, NOW, world.trust, world.revocations)
    assert (verdict.problem, verdict.is_accepted) == (problem, False)
    other = changed_child(
        world.sub.certificate.der, CertificateUse.SIGNING, NOW, world.trust, world.revocations
    )
    assert other.problem is CERTIFICATE_UNTRUSTED
    assert other.reason != verdict.reason
    assert changed_child.is_usable


@pytest.mark.long
def test_a_process_that_lacks_a_library_judges_nobody(
    world: World, changed_child: CertificateExaminer, monkeypatch: pytest.MonkeyPatch
):
    """Its verdict on every certificate would be that it cannot be processed, for good."""
    monkeypatch.setenv("MISSING", "1")
    octets = world.party.certificate.der
    assert changed_child(octets, CertificateUse.SIGNING, NOW, world.trust, world.revocations).is_transient
    with pytest.raises(GatewayError, match=r"GW806 .*ended with status 1"):
        changed_child.start_and_await_children()


def test_no_answer_is_taken_for_that_to_another_certificate(
    world: World, examiner: CertificateExaminer, monkeypatch: pytest.MonkeyPatch
):
    """Here memory is short while the first answer is read; it must not stand for the second certificate."""
    arguments = (CertificateUse.SIGNING, NOW, world.trust, world.revocations)
    assert examiner(world.party.certificate.der, *arguments).status == "valid"

    def lack_memory(_connection: Connection) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "recv_bytes", lack_memory)
        with pytest.raises(MemoryError):
            examiner(world.party.certificate.der, *arguments)
    assert examiner(world.outcast.certificate.der, *arguments).status == "invalid"


def test_a_start_that_succeeds_at_once_again_keeps_nobody_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    made, tries, begin = CertificateExaminer(), [], _ExaminerChild.begin_process

    def begin_second(child: _ExaminerChild) -> Connection:
        tries.append(child)
        if len(tries) == 1:
            raise BlockingIOError
        return begin(child)

    monkeypatch.setattr(_ExaminerChild, "begin_process", begin_second)
    try:
        for party in (world.party, world.outcast):
            octets = party.certificate.der
            assert not made(octets, CertificateUse.SIGNING, NOW, world.trust, world.revocations).is_transient
    finally:
        made.close()


@pytest.mark.long
def test_another_version_of_the_gateway_judges_nobody(
    world: World, changed_child: CertificateExaminer, monkeypatch: pytest.MonkeyPatch
):
    """What was installed in the place of this one may read a request, and mean another."""
    monkeypatch.setenv("VERSION", "0.9")
    verdict = changed_child(
        world.party.certificate.der, CertificateUse.SIGNING, NOW, world.trust, world.revocations
    )
    assert verdict.problem is NO_ROOM
    assert "another version of the gateway is installed" in changed_child._failure
    with pytest.raises(GatewayError, match=r"GW806 .*another version"):
        changed_child.start_and_await_children()


@pytest.mark.long
def test_the_working_folder_does_not_count(world: World, tmp_path: Path, monkeypatch: Any):
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "__init__.py").write_text("raise SystemExit", "utf-8")
    monkeypatch.chdir(tmp_path)
    made = CertificateExaminer()
    try:
        octets = world.party.certificate.der
        assert made(octets, CertificateUse.SIGNING, NOW, world.trust, world.revocations).status == "valid"
    finally:
        made.close()


def test_many_threads_share_it(world: World, examiner: CertificateExaminer):
    found: list[str] = []

    def ask(number: int) -> None:
        octets = (world.party, world.outcast)[number % 2].certificate.der
        found.append(examiner(octets, CertificateUse.SIGNING, NOW, world.trust, world.revocations).status)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == ["invalid"] * 4 + ["valid"] * 4


def test_what_cannot_be_read_is_no_part_of_a_register(world: World):
    trust = world.trust
    register = ValidationInput.from_stores(trust, world.revocations)
    opened = replace(register, intermediates=(b"words", *register.intermediates)).read_input()
    assert opened.trust.intermediates == trust.intermediates
    assert (
        opened.validate_certificate(world.party.certificate.der, CertificateUse.SIGNING, NOW).status
        == "valid"
    )
    doubtful = replace(register, crls=(*register.crls, b"words"), responses=(b"words",))
    assert len(doubtful.read_input().read_faults) == 2
    assert (
        doubtful.read_input()
        .validate_certificate(world.party.certificate.der, CertificateUse.SIGNING, NOW)
        .status
        == "valid"
    )
    # Where no list need be in hand, one that is not understood may be the one that counts.
    lax = replace(doubtful, policy=replace(DEFAULT_POLICY, revocation="if_present"))
    assert (
        lax.read_input().validate_certificate(world.party.certificate.der, CertificateUse.SIGNING, NOW).status
        == "indeterminate"
    )
    late = register.read_input().validate_certificate(
        world.party.certificate.der, CertificateUse.SIGNING, NOW + 3650 * DAY
    )
    assert late.status == "invalid"


def test_a_store_holds_what_was_given(world: World):
    trust = TrustStore((world.root.certificate,), (world.sub.certificate,))
    assert ValidationInput.from_stores(trust, RevocationData()).read_input().trust.anchors == trust.anchors


FORKING = """
import os, sys
from gateway.pki.certificates import read_certificate
from gateway.pki.revocation_data import RevocationData
from gateway.pki.trust_store import DEFAULT_POLICY, CertificateUse, TrustStore
from gateway.pki.certificate_examiner import CertificateExaminer
from dataclasses import replace
from datetime import datetime

leaf, root = (bytes.fromhex(each) for each in sys.argv[1:3])
at = datetime.fromisoformat(sys.argv[3])
policy = replace(DEFAULT_POLICY, revocation="none")
trust, lists = TrustStore((read_certificate(root),), (), policy), RevocationData()
examiner = CertificateExaminer()
def judged():
    return examiner(leaf, CertificateUse.SIGNING, at, trust, lists).status, examiner._children[0]._process.pid
first = judged()
child = os.fork()
if child == 0:
    second = judged()
    examiner.close()
    os._exit(0 if second[0] == "valid" and second[1] != first[1] else 1)
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(first[0], ended, judged() == first)
"""


@pytest.mark.long
def test_a_process_that_was_forked_has_children_of_its_own(world: World):
    leaf = issue_certificate(world.root, "Straight", NOW).certificate.der.hex()
    words = [
        sys.executable,
        "-W",
        "error",
        "-c",
        FORKING,
        leaf,
        world.root.certificate.der.hex(),
        NOW.isoformat(),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr) == ("valid 0 True\n", "")
