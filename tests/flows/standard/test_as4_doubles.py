"""The suite of AS4 finds every wrong gateway out, and a right one passes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.client import PartnerServer
from gateway.message_model import PartyId
from gateway_conformance.as4 import (
    WRONG_WAYS,
    As4Double,
    As4Listener,
    As4Opponent,
    As4Runner,
    GatewayDeclarations,
    list_assertion_profiles,
    make_as4_invitation,
    read_as4_double,
    read_as4_party,
    select_assertions,
)
from gateway_conformance.as4.as4_assertion import FEATURES
from gateway_conformance.hostile import make_endpoint_target
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from gateway_conformance.reports import RunReport
from gateway_conformance.standard import InvitedGateway
from tests.kit.ports import find_free_port

ROWS = {one.id: one for name in list_assertion_profiles() for one in select_assertions(name, None)}
PARTY = PartyId("double", "urn:oasis:names:tc:ebcore:partyid-type:unregistered:suite")
Judge = Callable[..., RunReport]
POST = "import urllib.request as u; u.urlopen('{url}/control/{kind}/{{conversation}}', b'').read()"
SHOW = (
    "import hashlib, pathlib; f = pathlib.Path('{folder}') / hashlib.sha256(b'{{message_id}}').hexdigest(); "
    "print(f.read_text() if f.exists() else '')"
)

#: Each double, and assertions that must find it out.
FOUND = {
    "always-200": {one.id for one in ROWS.values() if one.side == "receives"},
    "loses-properties": {"ED25"},
    "answers-at-once": {"AS01", "AS02", "AS03"},
    "no-response": {"AS04", "AS05"},
    "bare-response": {"AS05"},
    "never-gives": {"ED27", "ED28", "ED29", "ED30", "ED31", "AS07", "AS08"},
    "never-again": {"ED30"},
    "gives-twice": {"ED31"},
    "keeps-pulled": {"ED28", "ED29", "AS07"},
    "gives-to-anyone": {"ED32", "ED33", "ED34", "ED35", "AS10", "AS11", "AS12", "AS13", "AS14", "AS15"},
    "any-password": {"AS10", "AS11", "AS14", "AS15"},
    "forgets-logins": {"AS14"},
    "silent-channel": {"ED26", "AS09"},
    "always-refuses": {one.id for one in ROWS.values() if one.expect in ("receipt", "error")},
    "takes-everything": {one.id for one in ROWS.values() if one.kind == "negative"} - {"ED04", "ED17"},
    "unsigned-receipt": {"TA01", "TA22", "ED01"},
    "missing-digest": {"TA01", "TA07", "ED02", "ED23", "AS02"},
    "body-unsigned": {"ED01"},
    "same-id": {"ED03"},
    "other-code": {"TA30"},
    "bare-errors": {"ED16"},
    "forgets-receipts": {"ED13"},
    "keeps-nothing": {"TA04", "TA07", "TA32", "TA33"},
    "delivers-compressed": {"TA32", "TA33"},
    "delivers-pings": {"TA17"},
    "no-bom": {"ED10"},
    "no-properties": {"ED11", "ED24"},
    "no-simple-soap": {"TA22"},
    "no-uncompressed": {"TA04"},
    "two-party-ids": {"TA03"},
    "payload-in-body": {"TA05", "TA06", "ED20"},
    "no-mime-type": {"TA25"},
    "no-compression-type": {"TA23", "TA24"},
    "no-charset": {"TA27", "TA28"},
    "swapped-parts": {"TA06", "TA45"},
    "other-reference": {"TA02", "AS04"},
    "other-conversation": {"TA19"},
    "bad-message-id": {"ED21"},
    "other-role": {"ED22"},
    "other-service": {"TA16", "ED22"},
    "uncompressed": {"TA23", "TA24"},
    "unencrypted": {"TA13", "ED18", "ED19"},
    "other-cipher": {"TA13"},
    "other-mask": {"ED18"},
    "parts-unsigned": {"TA12", "ED20"},
    "stranger": {"TA12", "ED20"},
    "never-repeats": {"TA09", "TA10"},
    "never-stops": {"TA10"},
    "one-payload": {"TA06", "TA45"},
    "tells-nobody": {"TA15", "TA31"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a partner folder with the keys of the double."""
    folder, at = tmp_path_factory.mktemp("as4"), datetime.now(UTC)
    authority = make_authority("CN=Test CA", at - timedelta(days=2))
    own = issue_certificate(authority, "CN=gateway", at, CertificateOrder(key_kind="rsa-2048"))
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    secret = issue_certificate(authority, "CN=gateway decrypts", at, order)
    gateway = InvitedGateway((own.certificate,), [PARTY], "http://127.0.0.1:9/as4", secret.certificate)
    callback = f"http://127.0.0.1:{find_free_port()}"
    make_as4_invitation(authority, gateway, callback, at).write_files(folder)
    for name, pair in {"gateway": own, "gateway.decryption": secret}.items():
        (folder / f"{name}.key.pem").write_bytes(pair.key_pem)
        (folder / f"{name}.cert.pem").write_bytes(pair.certificate.pem)
    for path in (folder / "agreements").iterdir():
        path.write_text(path.read_text().replace("retry_interval: 2", "retry_interval: 1"))
    return folder


class Arena:
    """The suite and a double that play against each other."""

    def __init__(self, place: Path, shown: Path, wrong: str) -> None:
        shown.mkdir(exist_ok=True)
        own = (place / "gateway.key.pem", place / "gateway.cert.pem")
        self.double: As4Double = read_as4_double(place, *own, shown, wrong)
        self.server = PartnerServer(self.double)
        self.server.start()
        url = f"http://127.0.0.1:{self.server.port}"
        party = read_as4_party(place)
        self.listener = As4Listener(party)
        self.listener.start()
        outbound = {
            kind: _command(POST.format(url=url, kind=kind)) for kind in ("ping", "utf16", "several")
        } | {"reply_to": "Submit"}
        show = {
            kind: _command(SHOW.format(folder=shown / kind))
            for kind in ("delivered", "producer", "consumer", "properties")
        }
        # What a right gateway does it does in time on a busy machine, too.
        patience = 0.6 if wrong else 10.0
        facts = GatewayDeclarations("a double", frozenset(FEATURES), "Store", outbound, show, patience)
        self.opponent = As4Opponent(party, make_endpoint_target(f"{url}/as4"), self.listener, facts)

    def judge(self, ids: set[str]) -> RunReport:
        return As4Runner(self.opponent).run_assertions([one for one in ROWS.values() if one.id in ids])

    def close(self) -> None:
        self.listener.close()
        self.server.close()


def _command(code: str) -> str:
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


@pytest.fixture
def judge(place: Path, tmp_path: Path) -> Iterator[Judge]:
    """Give the function that runs assertions against a double."""
    opened: list[Arena] = []

    def run(wrong: str, ids: set[str]) -> RunReport:
        opened.append(Arena(place, tmp_path / "shown", wrong))
        return opened[-1].judge(ids)

    yield run
    for one in opened:
        one.close()


def _list_wanting(report: RunReport) -> dict[str, str]:
    return {one.id: one.got for one in report.cases if one.verdict in ("failed", "advised")}


def test_every_way_is_tried_and_every_assertion_can_fail() -> None:
    assert set(FOUND) == set(WRONG_WAYS)
    assert set().union(*FOUND.values()) == set(ROWS)
    assert sum(one.startswith("TA") for one in ROWS) == 36


@pytest.mark.story("a tester runs the AS4 suite on a right gateway")
def test_a_right_gateway_passes(judge: Judge) -> None:
    quick = {"TA01", "TA03", "TA08", "TA12", "TA13", "TA30", "ED01", "ED13", "ED20"}
    report = judge("", quick)
    assert [(one.id, one.verdict, one.got) for one in report.cases if one.verdict != "passed"] == []
    assert report.is_successful


@pytest.mark.story("a tester finds out a wrong gateway")
@pytest.mark.parametrize("wrong", ["missing-digest", "takes-everything", "unencrypted"])
def test_a_wrong_gateway_is_found_out(judge: Judge, wrong: str) -> None:
    some = set(sorted(FOUND[wrong])[:3])
    assert set(_list_wanting(judge(wrong, some))) == some


@pytest.mark.night
def test_a_right_gateway_passes_everything(judge: Judge) -> None:
    report = judge("", set(ROWS))
    assert [(one.id, one.verdict, one.got) for one in report.cases if one.verdict != "passed"] == []
    assert all(one.exchanges for one in report.cases)


@pytest.mark.night
@pytest.mark.parametrize("wrong", WRONG_WAYS)
def test_each_double_is_found_out(judge: Judge, wrong: str) -> None:
    report = judge(wrong, FOUND[wrong])
    assert FOUND[wrong] <= set(_list_wanting(report)), [
        (one.id, one.verdict, one.got) for one in report.cases if one.verdict != "failed"
    ]
