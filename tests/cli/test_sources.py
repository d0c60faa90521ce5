"""What is fetched, through the front door: shown, fetched at once by the queue, forgotten, told by check."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings
from gateway.delivery import build_worker
from gateway.delivery.delivery_worker import DeliveryWorker
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import read_fetch_sources
from gateway.hub.completion import operator_actions
from gateway.hub.trust.trust_settings import load_recognition_policy, load_trust_store
from gateway.store import fetched_lists, make_engine, read_transaction, write_transaction
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority, make_revocation_list
from tests.kit.house import authority
from tests.kit.live import LiveHouse
from tests.kit.publisher import Publisher, page, publishing

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as running:
        yield running


@pytest.fixture
def live(tmp_path: Path, sqlite_url: str, publisher: Publisher) -> LiveHouse:
    one = f'[fetch.root]\nurl = "{publisher.url}/root.crl"\nissuer = "pki/ca.pem"\n'
    return LiveHouse(tmp_path, sqlite_url, more=f'{one}[delivery]\npoll = "20ms"\n')


@pytest.fixture
def run(live: LiveHouse, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str]:
        status = main([*words, "--home", str(live.home)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out + captured.err

    return run


def listed(live: LiveHouse, ends: timedelta = timedelta(hours=4)) -> Any:
    begins = live.now - timedelta(hours=1)
    return page(make_revocation_list(authority(), [], begins, begins + ends, number=7))


def rows(run: Run, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(*words, "--json")[1].splitlines()]


_workers: list[DeliveryWorker] = []


def worker_of(live: LiveHouse) -> DeliveryWorker:
    """Return a worker in this process; its connections are closed with the test."""
    _workers.append(build_worker(read_home_settings(live.home)))
    return _workers[-1]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _workers:
        _workers.pop()._engine.dispose()


@pytest.mark.night
def test_a_source_is_shown_fetched_at_once_and_forgotten(
    live: LiveHouse, publisher: Publisher, run: Run
) -> None:
    assert [row["state"] for row in rows(run, "pki", "source", "list")] == ["never"]
    assert run("pki", "source", "refresh", "--wait", "0.1")[0] == 0
    publisher.pages["/root.crl"] = listed(live)
    worker, stop = worker_of(live), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        assert "DELIVERED" in run("pki", "source", "refresh", "root", "--wait", "30")[1]
        publisher.pages.clear()
        status, told = run("pki", "source", "refresh", "root", "--wait", "30")
        assert (status, "GW608" in told) == (1, True)
    finally:
        stop.set()
        thread.join()
    (row,) = rows(run, "pki", "source", "list")
    assert (row["state"], row["number"], row["words"], row["problem"]) == ("fresh", "7", 1, "GW608")
    assert "failed 1 times" in run("pki", "source", "list")[1]
    assert run("pki", "source", "forget", "root")[0] == 0
    assert run("pki", "source", "forget", "root")[0] != 0
    engine = make_engine(live.database_url)
    with read_transaction(engine) as conn:
        assert fetched_lists.list_in_force(conn) == []
        assert [one.kind for one in list_subject_leaves(conn, "source", "root")] == ["fetched", "forgotten"]
    engine.dispose()


@pytest.mark.night
def test_check_tells_what_is_stale_and_what_is_about_to_be(
    live: LiveHouse, publisher: Publisher, run: Run
) -> None:
    found = []
    for ends in (timedelta(hours=4), timedelta(hours=1, minutes=5)):
        publisher.pages["/root.crl"] = listed(live, ends)
        worker = worker_of(live)
        run("pki", "source", "refresh")
        worker.run_once()
        found.append(json.loads(run("check", "--json")[1]))
    assert [one["ok"] for one in found] == [True, True]
    assert not [words for words in found[0]["warnings"] if "fetched from root" in words]
    assert any("the data fetched from root expire at" in words for words in found[1]["warnings"])
    engine = make_engine(live.database_url)
    with engine.begin() as conn:
        conn.exec_driver_sql("UPDATE fetched_lists SET next_update = this_update")
    engine.dispose()
    problems = json.loads(run("check", "--json")[1])["problems"]
    assert [(one["id"], one["location"]) for one in problems] == [("GW208", "fetch.root")]
    assert run("pki", "source", "list")[0] == 1


@pytest.mark.night
def test_check_tells_of_an_issuer_that_leads_nowhere(live: LiveHouse, run: Run) -> None:
    stranger = make_authority("CN=Stranger", live.now - timedelta(days=1))
    (live.home / "pki" / "stranger.pem").write_bytes(stranger.certificate.pem)
    settings = live.home / "gateway.toml"
    settings.write_text(settings.read_text().replace("pki/ca.pem", "pki/stranger.pem"))
    problems = json.loads(run("check", "--json")[1])["problems"]
    assert [(one["id"], one["location"]) for one in problems] == [("GW606", "fetch.root.issuer")]
    assert "no path leads" in problems[0]["detail"]


@pytest.mark.night
def test_over_https_a_source_must_be_believed_to_be_it(tmp_path: Path, sqlite_url: str) -> None:
    """By the authorities that the settings name for its host, and by no other, private though they are."""
    begins = datetime.now(UTC) - timedelta(days=1)
    theirs, others = (make_authority(f"CN={name}", begins) for name in ("Theirs", "Others"))
    server = issue_certificate(
        theirs, "CN=localhost", begins, CertificateOrder("tls-server", alternative_names=("dns:localhost",))
    )
    key = tmp_path / "server.pem"
    key.write_bytes(server.key_pem + server.certificate.pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(key)
    with publishing(tls) as publisher:
        more = f'[fetch.root]\nurl = "{publisher.url}/root.crl"\nissuer = "pki/ca.pem"\n'
        live = LiveHouse(
            tmp_path / "https", sqlite_url, more=f'{more}[tls.localhost]\nanchors = ["tls.pem"]\n'
        )
        anchors = live.home / "tls.pem"
        anchors.write_bytes(others.certificate.pem)
        publisher.pages["/root.crl"] = listed(live)
        worker, engine = worker_of(live), make_engine(live.database_url)
        (source,) = read_fetch_sources(read_home_settings(live.home)).values()
        for believed in (others, theirs):
            anchors.write_bytes(believed.certificate.pem)
            os.utime(anchors, ns=(believed.certificate.serial % 10**18,) * 2)
            with write_transaction(engine) as conn:
                operator_actions.fetch_source_now(conn, source, datetime.now(UTC), "test")
            worker.run_once()
            with read_transaction(engine) as conn:
                row = fetched_lists.find_source(conn, "root")
            assert row is not None
            expected = (None, 1) if believed is theirs else ("GW601", 0)
            assert (row.problem, len(publisher.asked)) == expected, row.detail
            assert believed is theirs or "certificate verify failed" in row.detail
        engine.dispose()


def test_issuers_and_responders_are_intermediates(live: LiveHouse) -> None:
    root = authority()
    sub = make_authority("CN=Sub", live.now - timedelta(days=1), issuer=root)
    pki = live.home / "pki"
    (pki / "sub.pem").write_bytes(sub.certificate.pem)
    settings = live.home / "gateway.toml"
    more = '[fetch.sub]\nkind = "ocsp"\nurl = "http://a/"\nissuer = "pki/ca.pem"\nresponder = "pki/sub.pem"\n'
    settings.write_text(settings.read_text() + more)
    trust = load_trust_store(read_home_settings(live.home))
    assert trust.intermediates == (root.certificate, sub.certificate)


@pytest.mark.night
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[fetch.root]\nurl = "http://a/"\n', "needs the certificate of its issuer"),
        ('[fetch.root]\nissuer = "pki/ca.pem"\n', "there is no url"),
        ('[fetch.root]\nurl = "http://a/"\nissuer = "pki/none.pem"\n', "fetch.root.issuer"),
        ('[fetch.root]\nurl = "http://a/"\nissuer = "pki/hub.key.pem"\n', "fetch.root.issuer"),
        ('[fetch.root]\nurl = "http://u:p@a/"\nissuer = "pki/ca.pem"\n', "no user"),
        ('[fetch.root]\nurl = "http://a:0/"\nissuer = "pki/ca.pem"\n', "a port from 1 to 65535"),
        ('[fetch.root]\nurl = "http://a:99999/"\nissuer = "pki/ca.pem"\n', "a port from 1 to 65535"),
        ('[fetch.root]\nurl = "http://?x"\nissuer = "pki/ca.pem"\n', "a port from 1 to 65535"),
        ('[fetch.root]\nurl = "http://ä/"\nissuer = "pki/ca.pem"\n', "letters of ASCII"),
        ('[fetch.root]\nurl = "file:///etc/passwd"\nissuer = "pki/ca.pem"\n', "a port from 1 to 65535"),
        ('[fetch.root]\nurl = "ftp://a/"\nissuer = "pki/ca.pem"\n', "a port from 1 to 65535"),
        ('[fetch."../x"]\nurl = "http://a/"\nissuer = "pki/ca.pem"\n', "fetch.../x"),
        ('[fetch.root]\nkind = "crls"\nurl = "http://a/"\nissuer = "pki/ca.pem"\n', "fetch.root.kind"),
        ('[fetch.root]\nurl = "http://a/"\nissuer = "pki/ca.pem"\nevery = "1ms"\n', "at least a second"),
        ('[fetch.root]\nurl = "http://a/"\nissuer = "pki/ca.pem"\nissuers = "x"\n', "did you mean issuer"),
        ('[fetch.root]\nurl = "http://a/"\nissuer = "pki/ca.pem"\nresponder = "pki/ca.pem"\n', "only OCSP"),
    ],
)
def test_settings_that_are_wrong_are_named(live: LiveHouse, run: Run, text: str, words: str) -> None:
    (live.home / "gateway.toml").write_text(f'[hub]\nhome = "."\n{text}')
    status, told = run("pki", "source", "list")
    assert status != 0
    assert "GW801" in told
    assert words in told


def test_who_may_sign_our_list_is_named_by_a_file_that_holds_certificates(live: LiveHouse) -> None:
    settings = live.home / "gateway.toml"
    settings.write_text(settings.read_text() + '[recognition]\nsigners = ["pki/hub.key.pem"]\n')
    with pytest.raises(GatewayError, match=r"GW801 .*hub\.key\.pem: no certificate in the file") as caught:
        load_recognition_policy(read_home_settings(live.home))
    assert caught.value.location == "recognition.signers"
