"""Certificates as attackers and accidents make them, against a hub in process: refused, never fetched for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID
from lxml import etree
from sqlalchemy import Engine

from gateway.cli import main
from gateway.cli.registration import load_crls, register_certificate
from gateway.errors import GatewayError
from gateway.message_model import ErrorSignal, Receipt
from gateway.pki import (
    MAX_PEER_CERTIFICATES,
    Certificate,
    CertificateUse,
    CertificateValidator,
    KeySigner,
    ListSuccession,
    RevocationData,
    TrustPolicy,
    TrustStore,
    load_signer,
    path_validation,
    read_certificate,
    validate_path,
)
from gateway.pki.path_building import CertificateIndex
from gateway.store import make_engine, write_transaction
from gateway.wire import DS
from gateway.xmlsec import key_info
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.flows.hostile.neighbours import trap
from tests.flows.hostile.outbound_watch import Ear
from tests.kit.house import EBMS2, START, House, Neighbour, authority, signer_named
from tests.pki.certificate_forgery import DAY, HOUR, Forgery, crl, entry, name

SECOND = timedelta(seconds=1)
IF_PRESENT = TrustPolicy(revocation="if_present")
FAR_AHEAD = START + timedelta(days=300)


def signer_of(forgery: Forgery, issuer: CertificationAuthority) -> KeySigner:
    """Return a signer with the certificate that `forgery` describes."""
    forgery.key = forgery.key or ec.generate_private_key(ec.SECP256R1())
    der = forgery.der(issuer)
    key = forgery.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return load_signer(key, der)


class Register:
    """A hub, and a broker with certificates of any make."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self.house = House(engine)
        self.broker = Neighbour("broker1", self.house.clock)
        self.home = home
        url = engine.url.render_as_string(hide_password=False)
        (home / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')

    def know(self, signer: KeySigner) -> KeySigner:
        """Register a certificate for the broker, as an operator does."""
        with write_transaction(self.house.engine) as conn:
            register_certificate(conn, "broker1", signer.certificate.der, self.house.clock())
        return signer

    def bring(self, list_: bytes) -> None:
        """Bring a revocation list, as an operator does."""
        succession = ListSuccession((authority().certificate,), self.house.clock())
        with write_transaction(self.house.engine) as conn:
            load_crls(conn, list_, succession)

    def retire(self, signer: KeySigner) -> None:
        words = ["party", "certificate", "retire", signer.certificate.sha256, "--home", str(self.home)]
        assert main(words) == 0

    def says(self, signer: KeySigner | None = None) -> str:
        """Send one message; return "" for a receipt, else the id of the problem."""
        context = self.broker.context()
        if signer is not None:
            context = replace(context, signers={"broker1": signer})
        unit = self.broker.message()
        pmode = next(one for one in context.agreements.pmodes if one.action == unit.action)
        parcel = EBMS2.seal((unit,), pmode, context)
        told = self.broker.open(self.house.post(parcel)).unit
        if isinstance(told, Receipt):
            return ""
        assert isinstance(told, ErrorSignal)
        assert told.errors[0].code == "SecurityFailure"
        return told.errors[0].description.split()[0]


@pytest.fixture
def register(sqlite_url: str, tmp_path: Path) -> Iterator[Register]:
    engine = make_engine(sqlite_url)
    yield Register(engine, tmp_path)
    engine.dispose()


EDGES = {
    "a second before its time": (-SECOND, "GW206"),
    "the first second": (timedelta(0), ""),
    "the last second": (HOUR, ""),
    "a second after its time": (HOUR + SECOND, "GW206"),
}


@pytest.mark.parametrize(("moment", "expected"), EDGES.values(), ids=EDGES)
def test_a_message_is_believed_within_the_life_of_its_certificate(
    register: Register, moment: timedelta, expected: str
) -> None:
    begins = START + 2 * HOUR
    signer = register.know(signer_of(Forgery(starts=begins, ends=begins + HOUR), authority()))
    register.house.clock.now = begins + moment
    assert register.says(signer) == expected


def test_a_certificate_on_hold_is_refused_until_it_is_released(register: Register) -> None:
    serial = signer_named("broker1").certificate.serial
    hold = entry(serial, START - HOUR, [(x509.CRLReason(x509.ReasonFlags.certificate_hold), False)])
    assert register.says() == ""
    at = START + HOUR
    register.house.clock.now = at
    register.bring(crl(authority(), [hold], starts=at, ends=FAR_AHEAD))
    assert register.says() == "GW207"
    register.house.clock.now = at + HOUR
    register.bring(crl(authority(), [], starts=at + HOUR, ends=FAR_AHEAD))
    assert register.says() == ""


def test_what_was_signed_before_the_revocation_is_refused_after_it(register: Register) -> None:
    parcel = register.broker.seal(register.broker.message())
    register.house.clock.forward(minutes=10)
    at = register.house.clock()
    revoked = entry(signer_named("broker1").certificate.serial, at)
    register.bring(crl(authority(), [revoked], starts=at, ends=FAR_AHEAD))
    told = register.broker.open(register.house.post(parcel)).unit
    assert isinstance(told, ErrorSignal)
    assert told.errors[0].description.startswith("GW207")


@pytest.mark.parametrize(
    ("moment", "expected"), [(timedelta(0), ""), (SECOND, "GW208")], ids=["last", "stale"]
)
def test_a_list_that_is_over_proves_nothing(register: Register, moment: timedelta, expected: str) -> None:
    short = crl(authority(), [], starts=START, ends=START + DAY)
    assert register.says() == "", "the register is read with the first message"
    register.house.hub.judge.replace_trust(revocations=RevocationData([short]))
    register.house.clock.now = START + DAY + moment
    assert register.says() == expected


def wrong_lists() -> dict[str, bytes]:
    serial = signer_named("broker1").certificate.serial
    elsewhere = make_authority("CN=Elsewhere", START - DAY, "p-256")
    same_name = make_authority("CN=Test CA", START - DAY, "p-256")
    words = {"starts": START, "ends": FAR_AHEAD}
    return {
        "of another authority": crl(elsewhere, [entry(serial)], **words),
        "in the name of ours by another key": crl(same_name, [entry(serial)], **words),
        "signed by the party itself": crl(
            authority(), [entry(serial)], key=signer_named("broker1").key, **words
        ),
    }


@pytest.mark.parametrize(
    "which", ["of another authority", "in the name of ours by another key", "signed by the party itself"]
)
def test_a_list_of_somebody_else_condemns_nobody(register: Register, which: str) -> None:
    """Nor does it clear: with it alone in hand nothing is known."""
    wrong = wrong_lists()[which]
    assert register.says() == "", "the register is read with the first message"
    judge = register.house.hub.judge
    good = crl(authority(), [], starts=START - HOUR, ends=FAR_AHEAD)
    judge.replace_trust(revocations=RevocationData([good, wrong]))
    assert register.says() == ""
    judge.replace_trust(revocations=RevocationData([wrong]))
    assert register.says() == "GW208"


ISSUERS: dict[str, Forgery] = {
    "the control, a CA as it should be": Forgery(subject="Middle", ca=True),
    "a party": Forgery(subject="Middle"),
    "a CA that may not sign certificates": Forgery(
        subject="Middle",
        ca=True,
        extra=[
            (
                x509.KeyUsage(
                    *([True] + [False] * 5), crl_sign=True, encipher_only=False, decipher_only=False
                ),
                True,
            )
        ],
    ),
    "a CA below one that allows none": Forgery(subject="Middle", ca=True),
    "a CA for other names": Forgery(
        subject="Middle",
        ca=True,
        extra=[(x509.NameConstraints([x509.DirectoryName(name("Elsewhere"))], None), True)],
    ),
}


@pytest.mark.parametrize("which", ISSUERS)
def test_a_message_by_way_of_an_issuer_that_may_not_is_refused(register: Register, which: str) -> None:
    """The certificate is registered for the broker, its issuer among the intermediates: no path is good."""
    below = 0 if which == "a CA below one that allows none" else 1
    root = make_authority("CN=Root", START - DAY, "p-256", path_length=below)
    forged = replace(ISSUERS[which])
    assert register.says() == "", "the register is read with the first message"
    forged.key = ec.generate_private_key(ec.SECP256R1())
    middle = CertificationAuthority(forged.key, read_certificate(forged.der(root)))
    signer = register.know(signer_of(Forgery(subject="Leaf"), middle))
    trust = TrustStore((root.certificate, authority().certificate), (middle.certificate,), IF_PRESENT)
    register.house.hub.judge.replace_trust(trust, RevocationData())
    assert register.says(signer) == ("" if which.startswith("the control") else "GW205")
    assert register.says() == "", "others are judged as ever"


def test_the_work_on_many_issuers_of_one_name_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundred issuers of one name that issue each other: as many paths as there are orders of them."""
    key = ec.generate_private_key(ec.SECP256R1())
    without = (x509.AuthorityKeyIdentifier,)
    mesh = tuple(
        read_certificate(Forgery(subject="Mesh", ca=True, key=key, serial=number, without=without).der())
        for number in range(1, 101)
    )
    party = read_certificate(Forgery().der(CertificationAuthority(key, mesh[0])))
    looked: list[int] = []
    checked: list[int] = []
    issuers, check = CertificateIndex._find_issuers, path_validation.validate_chain

    def counted_issuers(self: CertificateIndex, chain: Any) -> Any:
        looked.append(len(chain))
        return issuers(self, chain)

    def counted_check(*arguments: Any) -> Any:
        checked.append(1)
        return check(*arguments)

    monkeypatch.setattr(CertificateIndex, "_find_issuers", counted_issuers)
    monkeypatch.setattr(path_validation, "validate_chain", counted_check)
    same_id = [(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)]
    impostors = tuple(
        read_certificate(Forgery("Mesh", True, serial=number, without=without, extra=same_id).der())
        for number in range(1, 51)
    )
    honest = authority().certificate
    for anchors, status in (
        ((honest,), "invalid"),
        ((honest, *mesh[:50]), "valid"),
        ((honest, *impostors), "invalid"),
    ):
        del looked[:], checked[:]
        trust = TrustStore(anchors, mesh, IF_PRESENT)
        assert validate_path(party, START, CertificateUse.SIGNING, trust, RevocationData()).status == status
        assert len(looked) <= 256
        assert len(checked) <= IF_PRESENT.candidates_most == 16
    assert checked == [], "of fifty of that name whose key did not sign it, none is followed"


@pytest.mark.parametrize("number", [MAX_PEER_CERTIFICATES + 1, 100, 10_000])
def test_more_than_four_certificates_sent_along_are_not_even_read(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    monkeypatch.setattr(key_info, "decode_certificate", read.append)
    info = etree.Element(f"{{{DS}}}KeyInfo")
    data = etree.SubElement(info, f"{{{DS}}}X509Data")
    for _ in range(number):
        etree.SubElement(data, f"{{{DS}}}X509Certificate").text = "MA=="
    with pytest.raises(GatewayError) as refused:
        key_info.read_x509_key_info(info)
    assert refused.value.problem.id == "GW202"
    assert read == []


def pointing(url: str) -> Forgery:
    """Return a certificate in which everything that can name an address names `url`."""
    where = [x509.UniformResourceIdentifier(url)]
    access = [
        x509.AccessDescription(kind, where[0])
        for kind in (AuthorityInformationAccessOID.OCSP, AuthorityInformationAccessOID.CA_ISSUERS)
    ]
    policy = x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), [url])
    return Forgery(
        extra=[
            (x509.AuthorityInformationAccess(access), False),
            (x509.CRLDistributionPoints([x509.DistributionPoint(where, None, None, None)]), False),
            (x509.FreshestCRL([x509.DistributionPoint(where, None, None, None)]), False),
            (x509.CertificatePolicies([policy]), False),
        ]
    )


_EAR = Ear(hears_all_threads=False)
INSIDE = (
    "http://169.254.169.254/latest",
    "file:///etc/passwd",
    "ldap://127.0.0.1/cn=x",
    "http://rebind.invalid/",
)


def test_addresses_in_certificates_are_never_asked(register: Register) -> None:
    with trap() as caught:
        _EAR.heard.clear()
        said = []
        with _EAR.listening():
            for url in (caught.url, *INSIDE):
                signer = signer_of(pointing(url), authority())
                said.append(register.says(register.know(signer)))
                said.append(register.says(signer_of(pointing(url), authority())))
        assert caught.caught == 0
    assert [event for event, _ in _EAR.heard if event.startswith(("socket.", "urllib."))] == []
    assert set(said[1::2]) == {"GW209"}
    assert set(said[::2]) <= {"", "GW208"}, "a list from elsewhere than these points says nothing of them"


@pytest.mark.parametrize("believed", [False, True], ids=["unknown authority", "another authority we believe"])
def test_issuer_and_serial_of_an_honest_one_make_no_signer(register: Register, believed: bool) -> None:
    honest = signer_named("broker1").certificate
    impostor = make_authority("CN=Test CA", START - DAY, "p-256")
    forged = signer_of(Forgery(subject="broker1", serial=honest.serial), impostor)
    assert (forged.certificate.serial, forged.certificate.subject) == (honest.serial, honest.subject)
    assert forged.certificate.issuer == honest.issuer
    if believed:
        trust = TrustStore((authority().certificate, impostor.certificate), (), IF_PRESENT)
        register.house.hub.judge.replace_trust(trust)
    assert register.says(forged) == "GW209"
    assert register.says() == ""


def test_the_old_key_is_good_until_the_cut_of_a_roll_over(register: Register) -> None:
    old = signer_named("broker1")
    new = register.know(signer_of(Forgery(subject="broker1 of 2027"), authority()))
    assert (register.says(old), register.says(new)) == ("", "")
    register.retire(old)
    assert (register.says(old), register.says(new)) == ("GW209", "")


@pytest.mark.vectors
def test_odd_certificates_of_others_end_in_a_verdict(vectors: Path) -> None:
    """Each file of pyca's collection is read or refused; what is read is judged and can be shown."""
    files = sorted((vectors / "vectors" / "pyca-x509" / "custom").glob("*"))
    files = [one for one in files if one.suffix in (".pem", ".der", ".crt")]
    judge = CertificateValidator(TrustStore((authority().certificate,), (), IF_PRESENT))
    outcomes: dict[str, int] = {}
    for file in files:
        found = _read(file.read_bytes())
        outcomes["read" if isinstance(found, Certificate) else found] = (
            outcomes.get("read" if isinstance(found, Certificate) else found, 0) + 1
        )
        if isinstance(found, Certificate):
            assert found.subject.isprintable(), file.name
            verdict = judge(found.der, CertificateUse.SIGNING, datetime(2015, 6, 1, tzinfo=START.tzinfo))
            assert verdict.status != "valid", file.name
            assert verdict.problem is not None
    assert len(files) > 90
    assert set(outcomes) <= {"read", "GW204", "GW205"}
    assert outcomes["read"] >= 20


def _read(data: bytes) -> Certificate | str:
    try:
        return read_certificate(data)
    except GatewayError as refused:
        return refused.problem.id


SHOWN = {
    "line breaks and escapes": "broker1\r\nroot\x1b[31m",
    "right to left": "broker\u202e1",
    "NUL": "broker1\0.evil",
    "a line separator": "broker1\u2028CN=hub",
}


@pytest.mark.parametrize("words", SHOWN.values(), ids=SHOWN)
def test_names_in_certificates_move_no_cursor(words: str) -> None:
    found = _read(Forgery(subject=words).der(authority()))
    if isinstance(found, Certificate):
        assert found.subject.isprintable()
        assert x509.Name.from_rfc4514_string(found.subject) == name(words), "it can still be told which it is"
    else:
        assert found == "GW205"
