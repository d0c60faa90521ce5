"""From a request to a certificate in the register, its renewal, and what the checks say of its end."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from gateway.cli import main
from gateway.cli.commands.process import log_expiries_daily
from gateway.cli.home_folder import read_home_settings
from gateway.hub import RejectingComposer, build_engine, build_hub
from gateway.pki import read_certificate, read_certificates
from gateway.store import make_engine, parties, write_transaction
from tests.kit.stores import mark_store

Run = Callable[..., tuple[int, str]]
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The declared sandbox: a good party, and one each that is revoked, expired, and of the wrong use."""
    folder = tmp_path_factory.mktemp("keys")
    assert main(["pki", "demo", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str, keys: Path) -> Path:
    """Return a home with one party; what the verbs ask of a database is tested on both elsewhere."""
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{sqlite_url}"\n')
    (tmp_path / "pki").symlink_to(keys)
    engine = make_engine(sqlite_url)
    with write_transaction(engine) as conn:
        parties.register_party(conn, "firm", "Small Firm", "applicant", NOW)
    engine.dispose()
    mark_store(tmp_path)
    return tmp_path


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: Any) -> tuple[int, str]:
        status = main([*map(str, words), "--home", str(home)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out or captured.err

    return run


def certified(home: Path, name: str, *words: str) -> Path:
    """Make a key and have the sandbox authority certify it; return the certificate."""
    made = [home / f"{name}.{end}" for end in ("key.pem", "csr.pem", "cert.pem")]
    key, request, certificate = map(str, made)
    assert main(["pki", "request", f"CN={name},O=Test", "--key", key, "--out", request]) == 0
    issue = ["pki", "issue", request, "--ca", str(home / "pki"), "--out", certificate]
    assert main([*issue, *words]) == 0
    return made[2]


def listed(run: Run, *words: str) -> list[dict[str, Any]]:
    status, text = run("party", "certificate", "list", "--json", *words)
    assert status == 0
    return [json.loads(line) for line in text.splitlines()]


def stamp(**later: float) -> str:
    return (NOW + timedelta(**later)).isoformat(timespec="seconds")


@pytest.mark.long
def test_a_small_firm_gets_a_certificate_and_renews_it(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = certified(home, "first"), certified(home, "second")
    assert (home / "first.key.pem").stat().st_mode & 0o777 == 0o600
    capsys.readouterr()
    status, text = run("party", "certificate", "add", "firm", first)
    assert (status, read_certificate(first.read_bytes()).sha256 in text) == (0, True)
    cut = stamp(days=3)
    assert run("party", "certificate", "add", "firm", second, "--from", stamp(days=1), "--cut", cut)[0] == 0
    old, new = listed(run)
    assert (old["state"], new["state"]) == ("current", "future")
    assert datetime.fromisoformat(old["until"]) == datetime.fromisoformat(cut)
    assert datetime.fromisoformat(new["from"]) == datetime.fromisoformat(stamp(days=1))
    assert run("party", "certificate", "end", new["sha256"])[0] == 0
    assert {one["sha256"]: one["state"] for one in listed(run)}[new["sha256"]] == "over"
    assert run("party", "certificate", "end", "0" * 64)[0] == 1
    assert listed(run, "--party", "nobody") == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [("revoked", "GW207"), ("expired", "GW206"), ("wrong-use", "GW205"), ("ca", "GW205")],
)
def test_what_our_trust_refuses_is_not_registered(run: Run, keys: Path, name: str, problem: str) -> None:
    file = keys / ("ca.pem" if name == "ca" else f"{name}.cert.pem")
    for words in (("certificate", "add", "firm", file), ("add", "other", "--certificate", file)):
        status, text = run("party", *words)
        assert (status, problem in text) == (1, True), text
        assert listed(run) == []
    assert run("party", "show", "other")[0] == 1
    assert run("party", "add", "other", "--certificate", keys / "broker.cert.pem")[0] == 0
    assert [one["party"] for one in listed(run)] == ["other"]


@pytest.mark.long
def test_one_that_is_yet_to_begin_may_be_registered_but_not_another_authoritys(
    run: Run, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("party", "certificate", "add", "firm", keys / "future.cert.pem")[0] == 0
    assert main(["pki", "demo", "--out", str(tmp_path / "other")]) == 0
    capsys.readouterr()
    for name in ("broker", "future"):
        status, text = run("party", "certificate", "add", "firm", tmp_path / "other" / f"{name}.cert.pem")
        assert status == 1
        assert "GW205" in text


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("--from", stamp(days=2), "--until", stamp(days=1)), "--from --until"),
        (("--until", stamp(days=-2)), "--from --until"),
        (("--from", stamp(days=9), "--cut", stamp(days=8)), "--cut"),
        (("--until", stamp(days=7), "--cut", stamp(days=8)), "--cut"),
    ],
)
def test_times_that_leave_nobody_to_sign_are_misuse(
    run: Run, keys: Path, words: tuple[str, ...], key: str
) -> None:
    status, text = run("party", "certificate", "add", "firm", keys / "broker.cert.pem", *words)
    assert (status, key in text) == (2, True), text


@pytest.mark.long
def test_what_the_sandbox_revokes_ends_once_its_list_is_in_force(
    home: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    assert main(["pki", "demo", "--out", str(own)]) == 0
    (home / "pki").unlink()
    (home / "pki").symlink_to(own)
    certificate = certified(home, "firm")
    assert run("party", "certificate", "add", "firm", certificate)[0] == 0
    revoke = ["pki", "revoke", "--ca", str(own)]
    assert main([*revoke, str(certificate)]) == 0
    assert main(revoke) == 0
    capsys.readouterr()
    assert run("pki", "crl", own / "crl.pem")[0] == 0
    for name, problem in ((certificate, "GW207"), (own / "revoked.cert.pem", "GW207")):
        assert problem in run("party", "certificate", "add", "firm", name)[1]
    listed_now = x509.load_pem_x509_crl((own / "crl.pem").read_bytes())
    assert listed_now.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3
    assert len(list(listed_now)) == 2
    assert main(["pki", "demo", "--out", str(tmp_path / "other")]) == 0
    assert main([*revoke, str(tmp_path / "other" / "broker.cert.pem")]) == 1
    assert "GW205" in capsys.readouterr().err


def test_a_key_that_is_there_is_not_written_over(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certified(home, "first")
    before = (home / "first.key.pem").read_bytes()
    words = ["--key", str(home / "first.key.pem"), "--out", str(home / "x.csr")]
    assert main(["pki", "request", "CN=first", *words]) == 2
    assert (home / "first.key.pem").read_bytes() == before
    assert not (home / "x.csr").exists()


@pytest.mark.long
def test_a_party_whose_last_certificate_ends_is_told_of(home: Path, run: Run) -> None:
    short = certified(home, "short", "--days", "20")
    assert run("party", "certificate", "add", "firm", short)[0] == 0
    status, text = run("check", "--json")
    told = json.loads(text.splitlines()[-1])
    assert (status, told["problems"]) == (0, [])
    [words] = [one for one in told["warnings"] if " ends in " in one]
    assert "of firm ends in 20 days" in words
    [row] = listed(run)
    assert run("party", "certificate", "end", row["sha256"])[0] == 0
    status, text = run("check", "--json")
    [problem] = json.loads(text)["problems"]
    assert (status, problem["id"], problem["location"]) == (1, "GW206", "party firm")
    assert run("party", "certificate", "add", "firm", certified(home, "long"))[0] == 0
    assert run("check")[0] == 0


@pytest.mark.long
def test_check_warns_that_our_own_certificate_ends(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    certified(home, "ours", "--days", "20")
    own = read_home_settings(home).pki.signing_certificate
    assert own is not None
    own.write_bytes((home / "ours.cert.pem").read_bytes())
    (own.parent / "hub.key.pem").write_bytes((home / "ours.key.pem").read_bytes())
    capsys.readouterr()
    status, text = run("check", "--json")
    told = [
        one for one in json.loads(text)["warnings"] if one.startswith("the last signing certificate of (our")
    ]
    assert (status, len(told)) == (0, 1), text
    assert "ends in 20 days" in told[0]
    # The next key takes over before: nothing is to be said.
    certified(home, "next")
    succeed(home, "next", stamp(days=5))
    capsys.readouterr()
    assert "(ours" not in run("check", "--json")[1]


def test_the_log_tells_of_it_once_a_day(
    home: Path, run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("party", "certificate", "add", "firm", certified(home, "short", "--days", "20"))[0] == 0
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            return len(waits) == 2

    settings = read_home_settings(home)
    engine = build_engine(settings)
    log_expiries_daily(settings, Stop(), engine)
    told = [one.getMessage() for one in caplog.records if "of firm ends in 20 days" in one.getMessage()]
    assert len(told) == 2
    assert waits == [86_400.0] * 2
    monkeypatch.setattr("gateway.cli.hub_findings.build_hub", lambda *_: 1 / 0)
    waits.clear()
    log_expiries_daily(settings, Stop(), engine)
    engine.dispose()
    assert "search for expiring certificates failed" in caplog.records[-1].getMessage()


def succeed(home: Path, name: str, starts: str) -> None:
    settings = (home / "gateway.toml").read_text().split("[pki.next]")[0]
    (home / "gateway.toml").write_text(
        f"{settings}[pki.next]\nstarts = {starts}\n"
        f'signing_key = {{ file = "{name}.key.pem" }}\nsigning_certificate = "{name}.cert.pem"\n'
    )


@pytest.mark.long
def test_our_next_key_is_checked_and_shown_to_partners(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    certified(home, "next")
    succeed(home, "next", stamp(days=5))
    capsys.readouterr()
    assert run("check")[0] == 0
    status, text = run("pki", "ours", "--json", "--out", home / "ours.pem")
    now, later = [json.loads(line) for line in text.splitlines()]
    assert status == 0
    assert datetime.fromisoformat(now["until"]) == datetime.fromisoformat(later["from"])
    published = read_certificates((home / "ours.pem").read_bytes())
    assert [one.sha256 for one in published] == [now["sha256"], later["sha256"]]
    hub = build_hub(read_home_settings(home), RejectingComposer(), lambda: NOW + timedelta(days=6))
    assert hub.signer.certificate == published[1]
    hub.close()


@pytest.mark.long
def test_a_next_key_that_is_not_good_or_comes_too_late_is_refused(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    certified(home, "server", "--profile", "tls-server")
    succeed(home, "server", stamp(days=5))
    capsys.readouterr()
    status, text = run("check")
    assert (status, "pki.next.signing_certificate" in text) == (1, True), text
    certified(home, "good")
    succeed(home, "good", stamp(days=5000))
    capsys.readouterr()
    status, text = run("check")
    assert (status, "no signing key is valid from" in text) == (1, True), text
