"""Who pulls by a name and a password: right once, in time, and never by the password itself."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.config import PullerSettings, Secret
from gateway.errors import GatewayError
from gateway.hub.trust.configured_secrets import PullLogins
from gateway.message_model import MemoryBody, Party
from gateway.protocols import Parcel, as4
from gateway.protocols.as4.message_sealing import write_as4_envelope
from gateway.store import HttpResponse
from gateway.xmlsec import SigningToken, write_swa_security
from tests.flows.test_as4_pull import PULLED, ask, code
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import House, Neighbour

#: Each case is an attack of its own.

PASSWORD = b"correct horse battery staple"
PROFILE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSS = f'xmlns:wsse="{PROFILE}wssecurity-secext-1.0.xsd" xmlns:wsu="{PROFILE}wssecurity-utility-1.0.xsd"'


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    (tmp_path / "password").write_bytes(PASSWORD + b"\n")
    return Secret(file=tmp_path / "password")


def open_house(engine: Engine, secret: Secret, authorization: str) -> tuple[House, Neighbour]:
    agreement = PULLED.replace(b": certificate}", f": {authorization}}}".encode())
    house = House(engine, agreement=agreement)
    house.hub.pull_logins = PullLogins({"broker1": PullerSettings(name="kim", password=secret)})
    return house, Neighbour("broker1", house.clock, agreement)


def write_token(house: House, **changes: Any) -> str:
    """Return a Security header with a UsernameToken."""
    given = {"name": "kim", "password": PASSWORD, "nonce": b"0123456789abcdef", "kind": "PasswordDigest"}
    given |= {"at": house.clock(), "said": None} | changes
    created = given["at"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    digest = hashlib.sha1(given["nonce"] + created.encode() + given["password"], usedforsecurity=False)
    said = given["said"] or base64.b64encode(digest.digest()).decode()
    nonce = f"<wsse:Nonce>{base64.b64encode(given['nonce']).decode()}</wsse:Nonce>" if given["nonce"] else ""
    return (
        f'<wsse:Security {WSS} xmlns:s="http://www.w3.org/2003/05/soap-envelope" s:role="ebms" '
        f's:mustUnderstand="true"><wsse:UsernameToken><wsse:Username>{given["name"]}</wsse:Username>'
        f'<wsse:Password Type="{PROFILE}username-token-profile-1.0#{given["kind"]}">{said}</wsse:Password>'
        f"{nonce}<wsu:Created>{created}</wsu:Created></wsse:UsernameToken></wsse:Security>"
    )


def pull(house: House, broker: Neighbour, token: str, *, signed: bool = False) -> HttpResponse:
    unit = ask(broker)
    if not signed:
        unit = replace(unit, sender=Party(()))
    context = broker.context()
    if signed:
        octets = as4.seal((unit,), None, context).read_octets()
    else:
        octets = as4.seal((replace(unit, sender=ask(broker).sender),), None, context).read_octets()
        start, end = octets.index(b"<wsse:Security"), octets.index(b"</wsse:Security>") + 16
        octets = octets[:start] + octets[end:]
    octets = octets.replace(b"<soap12:Header>", b"<soap12:Header>" + token.encode(), 1)
    return house.post(Parcel({"Content-Type": "application/soap+xml"}, MemoryBody(octets)))


def sign_with_token(broker: Neighbour, header: str, *, covered: bool = True) -> Parcel:
    """Return a PullRequest whose main signature is over the UsernameToken, too (core 7.10)."""
    header = header.replace("<wsse:UsernameToken>", '<wsse:UsernameToken wsu:Id="login">')
    token = etree.fromstring(header)[0]
    written = write_as4_envelope(ask(broker), is_compressed=False, bundled_units=())
    blocks = {written.messaging_id: written.messaging.encode(), written.body_id: written.body.encode()}
    if covered:
        blocks["login"] = etree.tostring(token, method="c14n", exclusive=True)
    signer = broker.context().signers["broker1"]
    security = write_swa_security(blocks, {}, signer, SigningToken("token-1"), "")
    octets = written.with_security(header + security.text)
    return Parcel({"Content-Type": "application/soap+xml"}, MemoryBody(octets))


@BOTH_AT_LANDING
def test_the_main_signature_may_be_over_the_token(engine: Engine, secret: Secret) -> None:
    house, broker = open_house(engine, secret, "both")
    answer = house.post(sign_with_token(broker, write_token(house)))
    assert code(answer)[0] == "EBMS:0006"
    signed = sign_with_token(broker, write_token(house, nonce=b"second"))
    other = write_token(house, nonce=b"third").replace(
        "<wsse:UsernameToken>", '<wsse:UsernameToken wsu:Id="login">'
    )
    octets = signed.read_octets()
    start, end = octets.index(b"<wsse:UsernameToken"), octets.index(b"</wsse:UsernameToken>")
    swapped = other[other.index("<wsse:UsernameToken") : other.index("</wsse:UsernameToken>")].encode()
    answer = house.post(Parcel(signed.headers, MemoryBody(octets[:start] + swapped + octets[end:])))
    assert b"GW202 the digest of reference '#login' is wrong" in answer.body
    assert code(house.post(sign_with_token(broker, write_token(house, nonce=b"4"), covered=False)))[0] == (
        "EBMS:0006"
    )


def test_a_right_login_counts_once_and_in_its_time(engine: Engine, secret: Secret) -> None:
    house, broker = open_house(engine, secret, "username")
    good = write_token(house)
    assert code(pull(house, broker, good))[0] == "EBMS:0006"
    repeated = pull(house, broker, good)
    assert (code(repeated)[0], b"GW341 this login came before" in repeated.body) == ("EBMS:0101", True)
    assert code(pull(house, broker, write_token(house, nonce=b"another")))[0] == "EBMS:0006"
    assert code(pull(house, broker, write_token(house, nonce=b"")))[0] == "EBMS:0006"
    for hours in (-1, 1):
        late = pull(house, broker, write_token(house, nonce=b"n", at=house.clock() + timedelta(hours=hours)))
        assert b"GW341 its time is" in late.body


def test_a_login_counts_once_as_long_as_it_is_accepted(engine: Engine, secret: Secret) -> None:
    """Its clock is at most a minute ahead, and it is then accepted for five minutes after its time."""
    house, broker = open_house(engine, secret, "username")
    ahead = house.clock() + timedelta(minutes=1)
    used, unused = write_token(house, at=ahead), write_token(house, at=ahead, nonce=b"another")
    assert code(pull(house, broker, used))[0] == "EBMS:0006"
    house.clock.forward(minutes=6)
    # Another login removes what is remembered no longer.
    assert code(pull(house, broker, unused))[0] == "EBMS:0006"
    assert b"GW341 this login came before" in pull(house, broker, used).body
    house.clock.forward(seconds=1)
    assert b"GW341 its time is" in pull(house, broker, used).body


def test_wrong_names_and_passwords_are_refused_alike(engine: Engine, secret: Secret) -> None:
    house, broker = open_house(engine, secret, "username")
    said = set()
    for changes in ({"password": b"wrong"}, {"name": "lee"}, {"name": "lee", "password": b""}):
        answer = pull(house, broker, write_token(house, **changes))
        assert code(answer)[0] == "EBMS:0101"
        said.add(b"GW340 the name or the password is wrong" in answer.body)
    assert said == {True}
    clear = pull(house, broker, write_token(house, kind="PasswordText", said=PASSWORD.decode()))
    assert b"GW340 the password must be a PasswordDigest" in clear.body
    assert PASSWORD not in clear.body
    assert b"GW107" in pull(house, broker, write_token(house, said="%%")).body
    assert b"GW107" in pull(house, broker, write_token(house) + write_token(house)).body


@pytest.mark.parametrize(
    ("agreed", "signed", "named", "said"),
    [
        ("username", False, False, b"GW340 nobody signed"),
        ("username", True, False, b"GW340 the agreement requires a name and a password"),
        ("certificate", False, True, b"GW340 the agreement wants a signed PullRequest"),
        ("both", False, True, b"GW340 the agreement wants a signed PullRequest"),
        ("both", True, False, b"GW340 the agreement requires a name and a password"),
        ("both", True, True, b"EBMS:0006"),
        ("certificate", True, True, b"EBMS:0006"),
    ],
)
def test_the_agreement_says_what_is_shown(
    engine: Engine, secret: Secret, agreed: str, signed: bool, named: bool, said: bytes
) -> None:
    house, broker = open_house(engine, secret, agreed)
    token = write_token(house) if named else ""
    assert said in pull(house, broker, token, signed=signed).body


def test_a_login_is_for_requests_alone_and_its_secret_is_long(
    engine: Engine, secret: Secret, tmp_path: Path
) -> None:
    house, broker = open_house(engine, secret, "username")
    parcel = broker.seal(broker.message())
    octets = parcel.read_octets().replace(
        b"<soap12:Header>", b"<soap12:Header>" + write_token(house).encode(), 1
    )
    assert b"GW311 a name with a password" in house.post(Parcel(parcel.headers, MemoryBody(octets))).body
    (tmp_path / "short").write_bytes(b"short")
    with pytest.raises(GatewayError, match="GW801 the password has 5 octets"):
        PullLogins({"broker1": PullerSettings(password=Secret(file=tmp_path / "short"))})
    with pytest.raises(GatewayError, match="GW801 two parties have this name"):
        PullLogins(
            {"a": PullerSettings(name="x", password=secret), "b": PullerSettings(name="x", password=secret)}
        )
