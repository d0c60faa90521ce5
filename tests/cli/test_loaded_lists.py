"""Lists that an operator loads stand beside each other, and a revoked certificate stays revoked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings
from gateway.cli.registration import read_hub_revocations
from gateway.errors import GatewayError
from gateway.hub import build_hub_base
from gateway.hub.trust.trust_settings import load_trust_store
from gateway.pki import MAX_CRLS, CertificateUse, validate_path
from gateway.share import get_data_folder
from gateway.store import (
    NewFetchedList,
    NewRevocationList,
    fetched_lists,
    make_engine,
    read_transaction,
    write_transaction,
)
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.kit.house import authority, signer_named
from tests.kit.live import LiveHouse
from tests.pki.certificate_forgery import crl, entry, scope

pytestmark = pytest.mark.long

Load = Callable[..., dict[str, Any]]
HOUR = timedelta(hours=1)
USERS, AUTHORITIES = scope(only_contains_user_certs=True), scope(only_contains_ca_certs=True)


@pytest.fixture
def live(tmp_path: Path, sqlite_url: str) -> LiveHouse:
    house = LiveHouse(tmp_path, sqlite_url)
    # Only what the operator loads counts.
    (house.home / "pki" / "crl.pem").unlink()
    return house


def make(
    number: int,
    age: timedelta = HOUR,
    *extra: x509.ExtensionType,
    revoked: bool = False,
    by: CertificationAuthority | None = None,
    ends: datetime | None = None,
    key: Any = None,
) -> bytes:
    """Make a list of the authority; `revoked` is the broker's certificate. `extra` is critical."""
    issuer, now = by or authority(), datetime.now(UTC).replace(microsecond=0)
    entries = [entry(signer_named("broker1").certificate.serial, now - age)] if revoked else []
    key_id = x509.AuthorityKeyIdentifier(issuer.certificate.subject_key_identifier, None, None)
    every = [(x509.CRLNumber(number), False), (key_id, False), *((each, True) for each in extra)]
    return crl(issuer, entries, starts=now - age, ends=ends or now + 240 * HOUR, extra=every, key=key)


@pytest.fixture
def load(live: LiveHouse, capsys: pytest.CaptureFixture[str]) -> Load:
    def load_lists(*lists: bytes, withdraw: bool = False) -> dict[str, Any]:
        file = live.home / "loaded.pem"
        pem = serialization.Encoding.PEM
        file.write_bytes(b"".join(x509.load_der_x509_crl(each).public_bytes(pem) for each in lists))
        options = ["--withdraw"] if withdraw else []
        status = main(["pki", "crl", str(file), *options, "--json", "--home", str(live.home)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        if status:
            return {"status": status, "problem": captured.err}
        document: dict[str, Any] = json.loads(captured.out)
        return document

    return load_lists


def judge_broker(live: LiveHouse) -> str:
    """Return the verdict on the broker's certificate: valid, tolerated, or the id of a problem."""
    settings = read_home_settings(live.home)
    trust, engine = load_trust_store(settings), make_engine(live.database_url)
    with read_transaction(engine) as conn:
        lists = read_hub_revocations(settings, conn, trust.policy.certificates)
    engine.dispose()
    certificate = signer_named("broker1").certificate
    verdict = validate_path(certificate, datetime.now(UTC), CertificateUse.SIGNING, trust, lists)
    if verdict.tolerated:
        return "tolerated"
    return verdict.problem.id if verdict.problem else verdict.status


def test_changes_do_not_displace_what_they_apply_to(live: LiveHouse, load: Load) -> None:
    load(make(9, 2 * HOUR, revoked=True))
    assert judge_broker(live) == "GW207"
    (changes,) = load(make(10, HOUR, x509.DeltaCRLIndicator(9)))["lists"]
    assert (changes["delta"], changes["in_force"], changes["replaces"]) == (True, True, [])
    assert judge_broker(live) == "GW207"
    # The next complete list repeats both.
    (complete,) = load(make(11, timedelta(minutes=5)))["lists"]
    assert (complete["in_force"], len(complete["replaces"])) == (True, 2)
    assert judge_broker(live) == "valid"


@pytest.mark.parametrize("order", [1, -1])
def test_parts_stand_beside_each_other(live: LiveHouse, load: Load, order: int) -> None:
    users, authorities = make(9, 2 * HOUR, USERS, revoked=True), make(10, HOUR, AUTHORITIES)
    document = load(*[users, authorities][::order])
    assert [each["in_force"] for each in document["lists"]] == [True, True]
    assert judge_broker(live) == "GW207"


def test_the_list_of_another_key_of_that_name_displaces_nothing(live: LiveHouse, load: Load) -> None:
    name = x509.load_der_x509_certificate(authority().certificate.der).subject.rfc4514_string()
    other = make_authority(name, datetime.now(UTC) - 24 * HOUR)
    load(make(9, 2 * HOUR, revoked=True))
    assert "pki.intermediates" in load(make(10, by=other))["problem"]
    (live.home / "pki" / "other.pem").write_bytes(other.certificate.pem)
    settings = live.home / "gateway.toml"
    settings.write_text(settings.read_text() + '[pki]\nintermediates = ["pki/other.pem"]\n')
    (listed,) = load(make(10, by=other))["lists"]
    assert (listed["in_force"], listed["replaces"]) == (True, [])
    assert judge_broker(live) == "GW207"


def test_with_indeterminate_accepted_a_revoked_certificate_stays_out(live: LiveHouse, load: Load) -> None:
    policy = get_data_folder("pki").joinpath("policy.toml").read_text()
    policy = policy.replace("accept_indeterminate = false", "accept_indeterminate = true")
    (live.home / "policy.toml").write_text(policy)
    settings = live.home / "gateway.toml"
    settings.write_text(settings.read_text() + '[pki]\npolicy = "policy.toml"\n')
    assert judge_broker(live) == "tolerated"
    load(make(9, 2 * HOUR, revoked=True))
    load(make(10, HOUR, x509.DeltaCRLIndicator(9)))
    load(make(11, HOUR, AUTHORITIES))
    assert judge_broker(live) == "GW207"


def test_a_list_that_proves_nothing_displaces_nothing(live: LiveHouse, load: Load) -> None:
    load(make(9, 2 * HOUR, revoked=True))
    for words, octets in {
        "signed by no authority": make(10, key=ec.generate_private_key(ec.SECP256R1())),
        "in the future": make(10, -HOUR),
        "it ended at": make(10, HOUR, ends=datetime.now(UTC) - timedelta(minutes=1)),
        "attribute certificates": make(10, HOUR, scope(only_contains_attribute_certs=True)),
        "number 9 of": make(8, HOUR),
    }.items():
        problem = load(octets)["problem"]
        assert "GW208" in problem
        assert words in problem
        assert judge_broker(live) == "GW207"


def test_an_earlier_list_is_kept_and_said_not_to_be_used(live: LiveHouse, load: Load) -> None:
    earlier, later = make(8, 2 * HOUR), make(9, HOUR, revoked=True)
    load(later)
    document = load(earlier)
    assert [(each["new"], each["in_force"]) for each in document["lists"]] == [(True, False)]
    assert "a list in force repeats it" in document["done"]
    assert judge_broker(live) == "GW207"
    document = load(earlier, later)
    assert [(each["new"], each["in_force"]) for each in document["lists"]] == [(False, False), (False, True)]


def test_a_list_that_a_later_one_of_the_file_repeats_is_not_in_force(live: LiveHouse, load: Load) -> None:
    document = load(make(9, 2 * HOUR), make(10, HOUR, revoked=True))
    assert [each["in_force"] for each in document["lists"]] == [False, True]
    assert judge_broker(live) == "GW207"


def test_a_withdrawn_list_that_another_one_of_the_file_repeats_is_not_used_again(
    live: LiveHouse, load: Load
) -> None:
    before, after = make(9, 2 * HOUR), make(10, HOUR)
    load(before)
    load(before, withdraw=True)
    lists = load(before, after)["lists"]
    assert [(each["in_force"], each["used_again"]) for each in lists] == [(False, False), (True, False)]


def test_a_list_is_withdrawn_and_the_one_before_can_be_loaded_again(live: LiveHouse, load: Load) -> None:
    before, wrong = make(9, 2 * HOUR, revoked=True), make(10, HOUR)
    load(before)
    load(wrong)
    assert judge_broker(live) == "valid"
    document = load(wrong, withdraw=True)
    assert document["done"] == (
        "The list of CN=Test CA is withdrawn. "
        "No list of this issuer is in hand any more: load its present one."
    )
    assert [each["remaining"] for each in document["lists"]] == [0]
    assert judge_broker(live) == "GW208"
    assert "the list of CN=Test CA is not in force" in load(wrong, withdraw=True)["problem"]
    document = load(before)
    assert document["done"] == "List of CN=Test CA: loaded already, and used again from now on."
    (again,) = document["lists"]
    assert (again["new"], again["in_force"], again["used_again"]) == (False, True, True)
    assert judge_broker(live) == "GW207"
    (again,) = load(before)["lists"]
    assert (again["new"], again["in_force"], again["used_again"]) == (False, True, False)


def test_a_withdrawal_says_how_many_lists_of_the_issuer_are_left(live: LiveHouse, load: Load) -> None:
    parts = [make(9, HOUR, USERS), make(9, HOUR, AUTHORITIES)]
    load(*parts, make(10, timedelta(minutes=30), x509.DeltaCRLIndicator(9)))
    document = load(parts[0], withdraw=True)
    assert document["done"].endswith("is withdrawn. This issuer has 2 lists in hand still.")
    document = load(make(11, timedelta(minutes=20)), withdraw=True)
    assert "GW808" in document["problem"]
    assert load(parts[1], withdraw=True)["lists"][0]["remaining"] == 1


def test_a_list_that_cannot_be_read_any_more_stops_nothing_and_can_be_withdrawn(
    live: LiveHouse, load: Load, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier version may have read what this one refuses."""
    unreadable = b"\x30\x82\x01\x00" + bytes(256)
    sha256, now = hashlib.sha256(unreadable).hexdigest(), datetime.now(UTC)
    engine = make_engine(live.database_url)
    with write_transaction(engine) as conn:
        fetched_lists.insert_crl(conn, NewRevocationList("ab" * 32, sha256, now, None, unreadable), now)
    engine.dispose()
    load(make(9, revoked=True))
    assert judge_broker(live) == "GW207"
    assert "cannot be read any more" in caplog.text
    main(["check", "--json", "--home", str(live.home)])
    captured = capsys.readouterr()
    assert f"stored revocation data cannot be read and proves nothing: SHA-256 {sha256}" in captured.out
    file = live.home / "unreadable.der"
    file.write_bytes(unreadable)
    for status, words in ((0, f"The list {sha256}, which cannot be read, is withdrawn."), (2, "GW808")):
        assert main(["pki", "crl", str(file), "--withdraw", "--home", str(live.home)]) == status
        captured = capsys.readouterr()
        assert words in captured.out + captured.err
    caplog.clear()
    assert judge_broker(live) == "GW207"
    assert "cannot be read any more" not in caplog.text


def test_lists_beyond_what_a_hub_reads_are_refused(live: LiveHouse, load: Load) -> None:
    load(make(1, revoked=True))
    part = partial(make, 1, timedelta(minutes=30))
    points = [
        scope(full_name=[x509.UniformResourceIdentifier(f"http://a/{number}")]) for number in range(MAX_CRLS)
    ]
    assert "256 are allowed" in load(*map(part, points))["problem"]
    assert judge_broker(live) == "GW207"
    assert len(load(*map(part, points[1:]))["lists"]) == MAX_CRLS - 1
    assert judge_broker(live) == "GW207"
    # What is fetched later, or named by the settings, is read all the same, and nothing stops.
    load(make(2))
    assert judge_broker(live) == "valid"
    _put_fetched_list(live, make(10, HOUR, x509.DeltaCRLIndicator(2), revoked=True))
    assert judge_broker(live) == "GW207"
    part_of_none = scope(full_name=[x509.UniformResourceIdentifier("http://a/none")])
    assert "258 revocation lists would be in hand" in load(part(part_of_none))["problem"]
    # One that takes the place of another one is taken.
    (listed,) = load(make(3))["lists"]
    assert (listed["in_force"], len(listed["replaces"])) == (True, 1)


def _put_fetched_list(live: LiveHouse, octets: bytes) -> None:
    engine, now = make_engine(live.database_url), datetime.now(UTC)
    with write_transaction(engine) as conn:
        fetched_lists.ensure_source(conn, "root", "delta", "http://a.example/")
        new = NewFetchedList("", "delta", octets, "CN=Test CA", "10", now, now + HOUR)
        fetched_lists.activate_lists(conn, "root", [new], now)
    engine.dispose()


def test_a_list_without_end_is_taken(live: LiveHouse, load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    load(make(9, ends=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)))
    assert judge_broker(live) == "valid"
    main(["check", "--json", "--home", str(live.home)])
    captured = capsys.readouterr()
    assert "revocation list" not in captured.out + captured.err
    assert "GW901" not in captured.out + captured.err


def test_check_awaits_no_successor_of_a_list_that_is_repeated(
    live: LiveHouse, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    def list_warnings() -> list[str]:
        main(["check", "--json", "--home", str(live.home)])
        warnings = json.loads(capsys.readouterr().out)["warnings"]
        return [each for each in warnings if "the revocation list of" in each]

    soon = datetime.now(UTC) + timedelta(minutes=9)
    load(make(9, 2 * HOUR, USERS, ends=soon), make(9, 2 * HOUR, AUTHORITIES, ends=soon))
    assert len(list_warnings()) == 1
    load(make(10))
    assert list_warnings() == []


def test_replaced_lists_stay_in_the_database(live: LiveHouse, load: Load) -> None:
    (first,) = load(make(9, 2 * HOUR))["lists"]
    (second,) = load(make(10, HOUR))["lists"]
    assert second["replaces"] == [first["sha256"]]
    engine = make_engine(live.database_url)
    with read_transaction(engine) as conn:
        in_force = [row.crl_number for row in fetched_lists.list_crls_in_force(conn)]
        stored = conn.execute(fetched_lists.revocations.select()).all()
    engine.dispose()
    assert in_force == [second["sha256"]]
    assert {row.crl_number: row.replaced_at is None for row in stored} == {
        first["sha256"]: False,
        second["sha256"]: True,
    }


def name_lists(live: LiveHouse, *names: str) -> None:
    settings = live.home / "gateway.toml"
    settings.write_text(settings.read_text() + f"[pki]\ncrls = {json.dumps(names)}\n")


def write_list(path: Path, octets: bytes) -> None:
    path.write_bytes(x509.load_der_x509_crl(octets).public_bytes(serialization.Encoding.PEM))


def remove_file(path: Path) -> None:
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("spoil", [remove_file, Path.mkdir])
def test_a_list_that_the_settings_name_is_there(
    live: LiveHouse, load: Load, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None]
) -> None:
    name_lists(live, "pki/crl.pem", "pki/newest.pem")
    write_list(live.home / "pki" / "crl.pem", make(9, 2 * HOUR))
    newest = live.home / "pki" / "newest.pem"
    spoil(newest)
    assert main(["check", "--home", str(live.home)]) == 1
    assert f"GW803 {newest} cannot be read" in (told := capsys.readouterr().out)
    assert "pki.crls" in told
    assert "GW803" in load(make(9))["problem"]
    for work in (judge_broker, lambda house: build_hub_base(read_home_settings(house.home), at_work=False)):
        with pytest.raises(GatewayError, match=f"GW803 {newest}"):
            work(live)


def test_only_the_default_list_may_be_absent(live: LiveHouse) -> None:
    assert judge_broker(live) == "GW208"
    (live.home / "pki" / "crl.pem").mkdir()
    with pytest.raises(GatewayError, match=r"GW803 .*crl.pem"):
        judge_broker(live)
    (live.home / "pki" / "crl.pem").rmdir()
    (live.home / "pki" / "crl.pem").symlink_to("nowhere.pem")
    with pytest.raises(GatewayError, match=r"GW803 .*crl.pem"):
        judge_broker(live)


@pytest.mark.parametrize(
    "text",
    [
        '[pki]\nanchors = ["away.pem"]',
        '[pki]\nintermediates = ["away.pem"]',
        '[pki]\npolicy = "away.pem"',
        '[recognition]\nsigners = ["away.pem"]',
        '[time_stamps]\nanchors = ["away.pem"]',
        '[tls."*"]\nanchors = ["away.pem"]',
        '[fetch.root]\nurl = "http://127.0.0.1:9/"\nissuer = "away.pem"',
        '[mappings]\npublishers = ["away.pem"]',
    ],
)
def test_every_file_of_trust_that_the_settings_name_is_there(
    live: LiveHouse, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    settings = live.home / "gateway.toml"
    settings.write_text(settings.read_text() + text + "\n")
    assert main(["check", "--home", str(live.home)]) == 1
    assert "away.pem" in capsys.readouterr().out


def test_a_list_is_compared_with_those_of_the_settings_and_of_sources(live: LiveHouse, load: Load) -> None:
    file = live.home / "pki" / "crl.pem"
    write_list(file, make(20, 2 * HOUR, revoked=True))
    problem = load(make(10, HOUR))["problem"]
    assert "GW208" in problem
    assert f"is in force in pki.crls ({file})" in problem
    assert "take that file out of pki.crls first" in problem
    assert judge_broker(live) == "GW207"
    _put_fetched_list(live, make(30, HOUR, x509.DeltaCRLIndicator(2), revoked=True))
    problem = load(make(25, HOUR / 2, x509.DeltaCRLIndicator(2)))["problem"]
    assert (
        "is in force from source root: if the authority stands by the new one, forget source root" in problem
    )


def test_a_loaded_list_says_which_list_decides_in_its_stead(live: LiveHouse, load: Load) -> None:
    file = live.home / "pki" / "crl.pem"
    write_list(file, later := make(20, HOUR, revoked=True))
    document = load(make(10, 2 * HOUR))
    place = f"in pki.crls ({file})"
    assert document["done"] == (f"List of CN=Test CA: loaded, but a list that repeats it decides, {place}.")
    (listed,) = document["lists"]
    assert (listed["in_force"], listed["repeated_by"]) == (True, place)
    assert judge_broker(live) == "GW207"
    document = load(later)
    assert document["done"].startswith("List of CN=Test CA: loaded, and used from now on")
    assert document["lists"][0]["repeated_by"] is None


def test_a_list_of_the_settings_is_withdrawn_there(live: LiveHouse, load: Load) -> None:
    file = live.home / "pki" / "crl.pem"
    write_list(file, octets := make(20, HOUR, revoked=True))
    problem = load(octets, withdraw=True)["problem"]
    assert "GW808" in problem
    assert f"was not loaded, and is in force in pki.crls ({file}): take that file out of pki.crls" in problem
    load(octets)
    document = load(octets, withdraw=True)
    assert document["done"].endswith(
        f"is withdrawn. It is in force in pki.crls ({file}) still: take that file out of pki.crls."
    )
    assert document["lists"][0]["in_force"] is True
    assert judge_broker(live) == "GW207"


def test_check_names_a_list_that_cannot_be_used(live: LiveHouse, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
    now = datetime.now(UTC)
    unnumbered = crl(authority(), starts=now - HOUR, ends=now + HOUR, number=False)
    lists = make(9, HOUR, unknown), unnumbered
    for name, octets in zip(names := ("pki/crl.pem", "pki/other.pem"), lists, strict=True):
        write_list(live.home / name, octets)
    name_lists(live, *names)
    main(["check", "--json", "--home", str(live.home)])
    warnings = "\n".join(json.loads(capsys.readouterr().out)["warnings"])
    first, second = (f"(SHA-256 {hashlib.sha256(each).hexdigest()})" for each in lists)
    assert f"{first} proves nothing: a critical extension is not known here" in warnings
    assert f"{second} clears no certificate, it only revokes: it has no number" in warnings
