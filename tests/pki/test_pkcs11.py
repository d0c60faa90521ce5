"""A key in a token signs as one in memory does, and a token that was away is found again."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki import TokenKeyLocation, TokenSigner
from gateway_conformance.pki import CertificateOrder, IssuedCertificate, issue_certificate, make_authority
from tests.kit.softhsm import PIN, SoftHsm
from tests.pki.certificate_forgery import NOW
from tests.pki.conftest import World
from tests.pki.test_signing_keys import ALGORITHMS, check

pytestmark = pytest.mark.hsm


class Seconds:
    """A clock that goes on by more than the pause each time it is asked, unless it is stopped."""

    def __init__(self) -> None:
        self.now, self.step = 0.0, 10.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    return SoftHsm.make(tmp_path / "hsm", monkeypatch)


@pytest.fixture(scope="module")
def issued(world: World) -> IssuedCertificate:
    return issue_certificate(world.sub, "Token", NOW, CertificateOrder(key_kind="rsa-2048"))


def signer_of(hsm: SoftHsm, issued: IssuedCertificate, label: str = "signing") -> TokenSigner:
    return TokenSigner(hsm.key(label), issued.certificate, lambda: PIN, Seconds())


def refused(signer: TokenSigner) -> str:
    with pytest.raises(GatewayError) as caught:
        signer.sign(b"data")
    assert caught.value.problem is KEY_UNAVAILABLE
    assert PIN.decode() not in str(caught.value)
    return caught.value.detail


@pytest.mark.long
@pytest.mark.parametrize("kind", sorted(ALGORITHMS))
def test_a_key_of_a_token_signs_as_one_in_memory(hsm: SoftHsm, world: World, kind: str) -> None:
    issued = issue_certificate(world.sub, f"Token {kind}", NOW, CertificateOrder(key_kind=kind))
    hsm.put(issued.key)
    signer = signer_of(hsm, issued)
    assert signer.algorithm == ALGORITHMS[kind]
    for turn in range(5):
        data = bytes([turn]) * turn * 1000
        check(signer, signer.sign(data), data)


def test_a_token_that_is_pulled_and_put_back(hsm: SoftHsm, issued: IssuedCertificate) -> None:
    hsm.put(issued.key)
    told: list[bool] = []
    signer = TokenSigner(
        hsm.key(), issued.certificate, lambda: PIN, Seconds(), lambda problem: told.append(problem is None)
    )
    check(signer, signer.sign(b"before"), b"before")
    for _ in range(2):
        hsm.pull()
        for _ in range(3):
            assert "NoSuchToken" in refused(signer)
        hsm.put_back()
        check(signer, signer.sign(b"after"), b"after")
    assert told == [False, True, False, True]


def test_a_token_that_is_away_at_the_start(hsm: SoftHsm, issued: IssuedCertificate) -> None:
    hsm.put(issued.key)
    hsm.pull()
    signer = signer_of(hsm, issued)
    refused(signer)
    hsm.put_back()
    check(signer, signer.sign(b"data"), b"data")


def test_a_token_that_is_away_is_not_asked_by_every_message(
    hsm: SoftHsm, issued: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm.put(issued.key)
    hsm.pull()
    clock, asked = Seconds(), []
    signer = TokenSigner(hsm.key(), issued.certificate, lambda: PIN, clock)
    refused(signer)
    hsm.put_back()
    monkeypatch.setattr(signer, "_read_pin", lambda: asked.append(1) or PIN)
    clock.step = 0.1
    for _ in range(3):
        refused(signer)
    assert asked == []
    clock.step = 1.0
    check(signer, signer.sign(b"data"), b"data")


def test_a_session_that_another_signer_ended(hsm: SoftHsm, issued: IssuedCertificate, world: World) -> None:
    other = issue_certificate(world.sub, "Other", NOW)
    hsm.put(issued.key)
    hsm.put(other.key, "other", "02")
    one, two = signer_of(hsm, issued), signer_of(hsm, other, "other")
    absent = signer_of(hsm, issued, "absent")
    for _ in range(3):
        check(one, one.sign(b"1"), b"1")
        check(two, two.sign(b"2"), b"2")
        # Looking for what is not there ends all sessions of the module.
        assert "NoSuchKey" in refused(absent)


def test_no_key_signs_in_the_place_of_another(hsm: SoftHsm, world: World) -> None:
    """Handles begin anew with the sessions: what was the number of one key is then that of another."""
    made = [issue_certificate(world.sub, f"Key {number}", NOW) for number in range(2)]
    for number, each in enumerate(made):
        hsm.put(each.key, f"key {number}", f"0{number}")
    signers = [signer_of(hsm, each, f"key {number}") for number, each in enumerate(made)]
    absent = signer_of(hsm, made[0], "absent")
    for turn in range(6):
        for signer in signers[:: 1 - 2 * (turn % 2)]:
            check(signer, signer.sign(b"data"), b"data")
        refused(absent)


@pytest.mark.long
@pytest.mark.parametrize("kind", sorted(ALGORITHMS))
def test_a_key_that_is_not_that_of_the_certificate_signs_nothing(
    hsm: SoftHsm, world: World, kind: str
) -> None:
    ours, other = (
        issue_certificate(world.sub, name, NOW, CertificateOrder(key_kind=kind)) for name in ("Ours", "Other")
    )
    hsm.put(other.key)
    assert refused(signer_of(hsm, ours)) == "key 'signing' does not belong to CN=Ours"


def test_a_wrong_pin_is_tried_once_and_a_mended_one_is_taken(hsm: SoftHsm, issued: IssuedCertificate) -> None:
    hsm.put(issued.key)
    pins = [b"4321\n"]
    signer = TokenSigner(hsm.key(), issued.certificate, lambda: pins[-1], Seconds())
    assert "PinIncorrect" in refused(signer)
    for _ in range(20):
        assert "refused this PIN before" in refused(signer)
    pins.append(PIN + b"\n")
    check(signer, signer.sign(b"data"), b"data")
    hsm.pull()
    assert "NoSuchToken" in refused(signer)


def test_a_pin_that_is_corrected_meanwhile_is_not_the_refused_one(
    hsm: SoftHsm, issued: IssuedCertificate
) -> None:
    hsm.put(issued.key)
    pins = iter((b"4321\n",))
    signer = TokenSigner(hsm.key(), issued.certificate, lambda: next(pins, PIN + b"\n"), Seconds())
    assert "PinIncorrect" in refused(signer)
    check(signer, signer.sign(b"data"), b"data")


def test_a_key_of_another_certificate(hsm: SoftHsm, issued: IssuedCertificate, world: World) -> None:
    hsm.put(issued.key)
    other = issue_certificate(world.sub, "Other", NOW, CertificateOrder(key_kind="rsa-2048"))
    assert "does not belong" in refused(signer_of(hsm, other))
    curved = issue_certificate(world.sub, "Curved", NOW)
    refused(signer_of(hsm, curved))
    check(signer_of(hsm, issued), signer_of(hsm, issued).sign(b"data"), b"data")


def test_another_token_of_the_same_label_is_looked_into(
    hsm: SoftHsm, issued: IssuedCertificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm.put(
        issue_certificate(
            make_authority("CN=Other", NOW), "Old", NOW, CertificateOrder(key_kind="rsa-2048")
        ).key
    )
    assert "does not belong" in refused(signer_of(hsm, issued))
    other = SoftHsm.make(tmp_path / "other", monkeypatch, hsm.label)
    other.put(issued.key)
    signer = signer_of(hsm, issued)
    check(signer, signer.sign(b"data"), b"data")


@pytest.mark.long
def test_many_threads_share_a_token(hsm: SoftHsm, issued: IssuedCertificate) -> None:
    hsm.put(issued.key)
    signer = signer_of(hsm, issued)
    wanted = [str(number).encode() for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        for data, signature in zip(wanted, pool.map(signer.sign, wanted), strict=True):
            check(signer, signature, data)


def test_a_module_that_is_not_there(issued: IssuedCertificate, tmp_path: Path) -> None:
    place = TokenKeyLocation(str(tmp_path / "nothing.so"), "hub", "signing")
    assert "does not sign" in refused(TokenSigner(place, issued.certificate, lambda: PIN, Seconds()))


def test_without_the_package_it_is_said_which_is_missing(
    issued: IssuedCertificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    place = TokenKeyLocation(str(tmp_path / "other.so"), "hub", "signing")
    detail = refused(TokenSigner(place, issued.certificate, lambda: PIN, Seconds()))
    assert "singlewindow-gateway[hsm]" in detail
