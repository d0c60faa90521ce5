"""A bridge in a running hub: who comes over it, by which evidence, and how its lists are fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli.registration import load_crls, register_certificate
from gateway.hub import import_trusted_list
from gateway.message_model import PartyId
from gateway.operations import load_unchecked_agreement
from gateway.pki import CertificateUse, ListSuccession, TrustStore
from gateway.recognition import CrossCertificateBridge, TrustedListDraft
from gateway.store import parties, write_transaction
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    issue_certificate,
    make_authority,
    make_revocation_list,
)
from tests.flows.test_recognition import Abroad, Stranger, ours, terms, theirs
from tests.kit.databases import BOTH
from tests.kit.fetching import Post
from tests.kit.house import AGREEMENT, PARTY_TYPE, House, authority
from tests.kit.publisher import Publisher, Responder, page, publishing
from tests.recognition import sample_lists
from tests.recognition.sample_lists import DAY, NOW, country
from tests.recognition.test_bridge import OURS, THEIRS, cross

HOME = make_authority("CN=Home Root", NOW - 30 * DAY, path_length=None)
FAR = make_authority("CN=Far", NOW - 30 * DAY, path_length=None)
OVER = cross(FAR, "Far", HOME, {OURS: THEIRS})
FIRM = issue_certificate(FAR, "CN=Far Firm", NOW - DAY, CertificateOrder(policies=(THEIRS,)))


def bridging(sequence: int = 7, level: str = "qualified") -> bytes:
    bridges = (CrossCertificateBridge(OVER, ((OURS, level),)),)
    return sample_lists.own_list(TrustedListDraft("Home", "KR", sequence, NOW + 30 * DAY), bridges=bridges)[0]


class Far(Stranger):
    """A firm whose authority ours has certified."""

    signer = FIRM.signer


def revoked(by: CertificationAuthority, *serials: int, number: int = 1) -> bytes:
    return make_revocation_list(by, list(serials), NOW - timedelta(hours=1), NOW + 10 * DAY, number=number)


@pytest.mark.long
@BOTH
def test_who_comes_over_a_bridge(engine: Engine) -> None:
    abroad = Abroad(engine)
    far = Far("far", abroad.clock, AGREEMENT.replace(b"broker1", b"far"))
    now = abroad.clock()
    with write_transaction(engine) as conn:
        parties.register_party(conn, "far", "Far", "applicant", now, [PartyId("far", PARTY_TYPE)])
        register_certificate(conn, "far", FIRM.certificate.der, now)
        load_unchecked_agreement(conn, far.agreement, "agreement", now)
        for one in (HOME, FAR):
            load_crls(conn, revoked(one), ListSuccession((one.certificate,), now))
    anchors = (authority().certificate, HOME.certificate)
    abroad.story.hub.judge.replace_trust(trust=TrustStore(anchors))
    assert abroad.said(far).startswith("GW205")
    abroad.take(bridging(8))
    unit, told = abroad.send(far, b"<a/>")
    assert told == "Receipt"
    source = "CN=Far by CN=Home Root, by KR 8"
    assert abroad.ways(unit)[0] == {"mode": "bridge", "source": source, "levels": ["qualified"]}
    # The authority over there takes its certificate back.
    with write_transaction(engine) as conn:
        again = revoked(FAR, FIRM.certificate.serial, number=2)
        load_crls(conn, again, ListSuccession((FAR.certificate,), now))
    assert abroad.said(far).startswith("GW207")
    # And we take back the bridge: for a firm over there nobody speaks then.
    abroad.take(ours(9))
    assert abroad.said(far).startswith("GW205")


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as running:
        yield running


@pytest.fixture
def post(engine: Engine, publisher: Publisher) -> Post:
    """Return a place that trusts the authority which certified the foreign one too."""
    made = Post(House(engine, terms=terms()), publisher)
    for hub in (made.house.hub, made.hub):
        hub.judge.replace_trust(trust=TrustStore((authority().certificate, HOME.certificate)))
    return made


def fetched_from(post: Post, name: str, by: CertificationAuthority, path: str, **words: Any) -> None:
    """Name a source whose issuer is not one of ours; it is an intermediate as the settings make it."""
    post.sources[name] = replace(post.source(name, path, **words), issuer=by.certificate)
    for hub in (post.house.hub, post.hub):
        trust = hub.judge.trust
        hub.judge.replace_trust(trust=replace(trust, intermediates=(*trust.intermediates, by.certificate)))


def verdict(post: Post, der: bytes) -> str:
    post.house.hub.refresh_snapshot()
    found = post.house.hub.judge(der, CertificateUse.SIGNING, post.house.clock())
    return found.problem.id if found.problem else found.mode


ZED = country("Zed")


@pytest.mark.long
@pytest.mark.parametrize(
    ("by", "firm", "lists", "mode"),
    [
        (ZED.authority, ZED.party.certificate, (ours(), theirs()), "trust-list"),
        (FAR, FIRM.certificate, (bridging(),), "bridge"),
    ],
    ids=["list", "bridge"],
)
@pytest.mark.parametrize("kind", ["crl", "ocsp"])
def test_lists_of_foreign_authorities_are_fetched_as_ours_are(
    post: Post, by: CertificationAuthority, firm: Any, lists: tuple[bytes, ...], mode: str, kind: str
) -> None:
    publisher, engine = post.publisher, post.house.engine
    with write_transaction(engine) as conn:
        load_crls(conn, revoked(HOME), ListSuccession((HOME.certificate,), NOW))
        parties.register_party(conn, "firm", "Firm", "applicant", NOW, [PartyId("firm", PARTY_TYPE)])
        register_certificate(conn, "firm", firm.der, NOW)
    fetched_from(post, "there", by, "/there", kind=kind)
    responder = Responder(by, post.house.clock)
    publisher.pages["/there"] = responder if kind == "ocsp" else page(revoked(by))
    post.turn()
    # Nobody whom we recognise has such an issuer yet: there is nobody to ask about.
    assert (post.row("there").problem, responder.serials) == ("GW606" if kind == "crl" else None, [])
    assert verdict(post, firm.der) == "GW205"
    for octets in lists:
        import_trusted_list(engine, octets, NOW, terms())
    assert verdict(post, firm.der) == "GW208"
    post.house.clock.forward(hours=1)
    post.turn()
    assert (post.row("there").problem, verdict(post, firm.der)) == (None, mode)
    responder.revoked.add(firm.serial)
    if kind == "crl":
        publisher.pages["/there"] = page(revoked(by, firm.serial, number=2))
    post.house.clock.forward(hours=1)
    post.turn()
    assert (post.row("there").problem, verdict(post, firm.der)) == (None, "GW207")
