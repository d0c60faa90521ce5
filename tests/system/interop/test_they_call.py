"""The CXF client calls `/soap/agency`: good calls are taken, each mutation refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.share import get_data_folder
from gateway.wire import SERVICE_AGENCY, SOAP11, WSSE
from tests.kit.levels import at_night
from tests.system.interop.conftest import Hub
from tests.system.interop.peer import Peer

pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long]

ACKNOWLEDGE = "<ApplicationNumber>A-1</ApplicationNumber><ReceiptNumber>R-1</ReceiptNumber>"
INFORMATION = (
    "<ApplicationNumber>A-1</ApplicationNumber><NoticeNumber>N-1</NoticeNumber>"
    "<IssuedAt>2026-11-20T18:00:00.123456789+09:00</IssuedAt><Pointer>42A/67A[1]</Pointer>"
    "<Text>성분표를 내십시오</Text><Deadline>2026-12-01T00:00:00Z</Deadline>"
)
DECISION = (
    "<ApplicationNumber>A-1</ApplicationNumber><NoticeNumber>{number}</NoticeNumber>"
    "<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><StatusCode>R01</StatusCode>{decisions}"
)
ONE = (
    "<Decision><item>{item}</item><law>01</law><decision>APPROVED</decision>"
    "<condition>건조  보관</condition></Decision>"
)


def body(tmp_path: Path, operation: str, content: str) -> Path:
    file = tmp_path / "body.xml"
    file.write_text(f'<{operation} xmlns="{SERVICE_AGENCY}">{content}</{operation}>', encoding="utf-8")
    return file


def decision(tmp_path: Path, number: str = "N-2", items: int = 1) -> Path:
    decisions = "".join(ONE.format(item=item) for item in range(1, items + 1))
    return body(tmp_path, "SubmitDecision", DECISION.format(number=number, decisions=decisions))


def to(hub: Hub, operation: str, file: Path) -> tuple[str | Path, ...]:
    return ("--wsdl", f"{hub.url}?wsdl", "--operation", operation, "--body", file)


@pytest.mark.parametrize(
    ("party", "operation", "content", "told"),
    [
        ("agency-rsa", "Acknowledge", ACKNOWLEDGE, "receipt_number='R-1'"),
        ("agency-ec", "RequestInformation", INFORMATION, "성분표를 내십시오"),
        (
            "agency-rsa",
            "SubmitDecision",
            DECISION.format(number="N", decisions=ONE.format(item=1)),
            "건조  보관",
        ),
    ],
)
def test_every_operation_is_taken_and_the_answer_is_signed(
    peer: Peer, hub: Hub, tmp_path: Path, party: str, operation: str, content: str, told: str
) -> None:
    """CXF reads the WSDL that we serve, calls the address in it, and believes our answer."""
    before = len(hub.calls())
    report = peer.call(*to(hub, operation, body(tmp_path, operation, content)), party=party)
    assert report["ok"], report
    assert report["response_signed"]
    assert report["action"] == f"{SERVICE_AGENCY}:{operation}Response"
    assert report["relates_to"]
    assert set(report["response_signature"]["signed_parts"]) == {
        "Body", "Timestamp", "Action", "MessageID", "To", "RelatesTo",
    }  # fmt: skip
    [call] = hub.calls()[before:]
    assert told in call
    assert f" {party} " in call


def test_the_answer_that_names_the_notice_that_counts_is_believed(
    peer: Peer, hub: Hub, tmp_path: Path
) -> None:
    report = peer.call(*to(hub, "SubmitDecision", decision(tmp_path, number="O-1")))
    assert report["ok"], report
    assert report["response_signed"]
    assert "Overruled" in report["response_signature"]["signed_parts"]


@pytest.mark.night
def test_a_large_call_comes_in_chunks(peer: Peer, hub: Hub, tmp_path: Path) -> None:
    before = len(hub.calls())
    report = peer.call(*to(hub, "SubmitDecision", decision(tmp_path, items=400)))
    assert report["ok"], report
    assert report["request_bytes"] > 40_000
    assert hub.calls()[before].count("Decision(item=") == 400


def test_wsdl2java_reads_what_we_serve(peer: Peer, hub: Hub, tmp_path: Path) -> None:
    report = peer.call(*to(hub, "Acknowledge", body(tmp_path, "Acknowledge", ACKNOWLEDGE)), "--wsdl2java")
    assert report["ok"], report
    assert report["wsdl2java"]["ok"], report


SECURITY, CLIENT = f"{{{WSSE}}}", f"{{{SOAP11}}}"
SPOILED = {
    "--unsigned": ("GW201", SECURITY + "InvalidSecurity"),
    "--expired-timestamp": ("GW211", SECURITY + "MessageExpired"),
    "--future-timestamp": ("GW211", SECURITY + "MessageExpired"),
    "--wrong-key": ("GW202", SECURITY + "FailedCheck"),
    "--sign-body-only": ("GW203", SECURITY + "InvalidSecurity"),
    "--tamper-after-sign": ("GW202", SECURITY + "FailedCheck"),
    "--wrap-body": ("GW107", CLIENT + "Client"),
    "--wrap-after": ("GW107", CLIENT + "Client"),
    "--duplicate-id": ("GW107", CLIENT + "Client"),
    "--no-addressing": ("GW107", CLIENT + "Client"),
}


#: One of each kind at each landing; our own tests spoil messages in every way.
AT_LANDING = ("--unsigned", "--tamper-after-sign", "--wrap-body")


@pytest.mark.parametrize(
    "spoiler", [*AT_LANDING, *at_night(*(each for each in SPOILED if each not in AT_LANDING))]
)
def test_a_spoiled_call_is_refused_by_its_right_name(
    peer: Peer, hub: Hub, tmp_path: Path, spoiler: str
) -> None:
    before = hub.calls()
    report = peer.call(*to(hub, "SubmitDecision", decision(tmp_path)), spoiler)
    problem, code = SPOILED[spoiler]
    assert not report["ok"]
    assert report["fault"]["code"] == code
    assert report["fault"]["text"].startswith(problem)
    assert f"Id>{problem}<" in report["fault"]["detail"]
    assert "Location>" in report["fault"]["detail"]
    assert report["response_signed"], "the fault is signed too"
    assert report["http_status"] == 500
    assert hub.calls() == before


def test_a_stranger_is_refused(peer: Peer, hub: Hub, tmp_path: Path) -> None:
    before = hub.calls()
    report = peer.call(*to(hub, "SubmitDecision", decision(tmp_path)), party="stranger")
    assert report["fault"]["text"].startswith("GW205")
    assert hub.calls() == before


def test_the_same_octets_have_one_effect(peer: Peer, hub: Hub, tmp_path: Path) -> None:
    before = len(hub.calls())
    report = peer.call(*to(hub, "SubmitDecision", decision(tmp_path)), "--replay")
    assert report["ok"]
    assert report["replay"]["http_status"] == 500
    assert "GW211" in report["replay"]["fault"]
    assert len(hub.calls()) == before + 1


@pytest.mark.night
def test_a_repeat_with_a_fresh_signature_is_answered(peer: Peer, hub: Hub, tmp_path: Path) -> None:
    file = decision(tmp_path)
    reports = [
        peer.call(*to(hub, "SubmitDecision", file), "--message-id", "urn:uuid:again") for _ in range(2)
    ]
    assert [report["ok"] for report in reports] == [True, True]
    other = peer.call(*to(hub, "SubmitDecision", decision(tmp_path, "N-3")), "--message-id", "urn:uuid:again")
    assert other["fault"]["text"].startswith("GW312")


def test_reply_to_elsewhere_is_refused(peer: Peer, hub: Hub, tmp_path: Path) -> None:
    report = peer.call(*to(hub, "SubmitDecision", decision(tmp_path)), "--reply-to", "http://127.0.0.1:9/")
    assert report["fault"]["text"].startswith("GW311")


@pytest.mark.night
@pytest.mark.parametrize(
    ("number", "problem", "code"), [("C-1", "GW702", "Client"), ("E-1", "GW901", "Server")]
)
def test_refusals_of_the_hub_can_be_read(
    peer: Peer, hub: Hub, tmp_path: Path, number: str, problem: str, code: str
) -> None:
    report = peer.call(*to(hub, "SubmitDecision", decision(tmp_path, number)))
    assert report["fault"]["code"] == CLIENT + code
    assert report["fault"]["text"].startswith(problem)
    assert report["response_signed"]


def wsdls() -> list[str]:
    top = get_data_folder("wsdl")
    names = [file.name for file in top.iterdir() if file.name.endswith(".wsdl")]
    names += [
        f"agencies/{file.name}" for file in top.joinpath("agencies").iterdir() if file.name.endswith(".wsdl")
    ]
    return sorted(names)


@pytest.mark.night
def test_wsdl2java_reads_every_wsdl(peer: Peer) -> None:
    """CXF's reader, wsdl2java with javac, and the Basic Profile find nothing to say."""
    files = [Path(str(get_data_folder("wsdl").joinpath(name))) for name in wsdls()]
    for found in peer.report("wsdl-check", *files)["files"]:
        assert found["ok"], found
        assert found["wsdl2java"]["compiled"], found
        assert found["problems"] == [], found
        assert found["remarks"] == [], found
