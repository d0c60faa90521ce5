"""Lists of ETSI TS 119 612: published ones, and ours that differ in one thing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.pki import Certificate
from gateway.recognition import TrustedList, check_list_freshness, get_levels
from gateway.recognition.etsi_trusted_list import REPEALED, open_etsi_list, open_sealed_document
from gateway.xmlsec import STRICT, verify_any_document
from tests.recognition.sample_lists import (
    DAY,
    GRANTED,
    NOW,
    QC,
    WITHDRAWN,
    agreement,
    country,
    etsi_list,
    etsi_service,
    past_state,
    pointer,
    signed,
)

PUBLISHED = {
    "eu-lotl.xml": ("EU", 248, 0, 32),
    "eu-lotl-250.xml": ("EU", 250, 0, 32),
    "eu-lotl-pivot.xml": ("EU", 247, 0, 32),
    "fi-v5.xml": ("FI", 49, 19, 0),
    "fi-v5-sig-cert-v2.xml": ("FI", 49, 19, 0),
    "fi-v6.xml": ("FI", 49, 19, 0),
    "fi-v6-sig-cert.xml": ("FI", 49, 19, 0),
    "fi-v6-no-supply-points-type.xml": ("FI", 49, 19, 0),
    "ie-tl.xml": ("IE", 18, 4, 0),
}
#: What nobody may believe, and the problem of each: altered after signing, unsigned, of a form or by a key
#: that is refused.
REFUSED = {
    "eu-lotl-broken-sig.xml": "GW202",
    "eu-lotl-no-tl-version.xml": "GW202",
    "fi-v6-no-service-information.xml": "GW202",
    "fi-v6-no-tsp-information.xml": "GW202",
    "fr-65-docusign.xml": "GW202",
    "tsl-sk-minimal-dss-1911.xml": "GW202",
    "eu-lotl-no-sig.xml": "GW201",
    "tl-empty.xml": "GW201",
    "tl-empty-with-identifier.xml": "GW201",
    "sample.xml": "GW201",
    "eu-lotl-not-parseable.xml": "GW104",
    "tl-ecdsa-brainpool.xml": "GW204",
    "dk_tl-sn21.xml": "GW204",
    "tsl-pe.xml": "GW204",
    "peru-lotl.xml": "GW402",
}


class Anybody:
    """Takes every signer: for lists whose signers nobody pinned beforehand."""

    def __contains__(self, other: object) -> bool:
        return isinstance(other, Certificate)


def opened(data: bytes) -> TrustedList:
    return open_etsi_list(data, Anybody())  # type: ignore[arg-type]


def ours(data: bytes, name: str = "Zed") -> TrustedList:
    return open_etsi_list(data, {country(name).operator.certificate})


@pytest.fixture
def lists(vectors: Path) -> Path:
    return vectors / "vectors" / "dss" / "tsl"


@pytest.mark.vectors
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_list(name: str, lists: Path) -> None:
    data = (lists / name).read_bytes()
    found = opened(data)
    read = (found.territory, found.sequence, len(found.services), len(found.schemes))
    assert read == PUBLISHED[name]
    check_list_freshness(found, found.issued + DAY)
    pins = {found.signer}
    assert open_etsi_list(data, pins) == found
    with pytest.raises(GatewayError, match=r"GW205 signed by .* who is not expected"):
        open_etsi_list(data, {country("Zed").operator.certificate})


@pytest.mark.vectors
@pytest.mark.parametrize("name", REFUSED)
def test_a_published_list_that_is_refused(name: str, lists: Path) -> None:
    with pytest.raises(GatewayError) as refusal:
        opened((lists / name).read_bytes())
    assert refusal.value.problem.id == REFUSED[name], refusal.value


@pytest.mark.vectors
def test_services_of_a_published_list(lists: Path) -> None:
    found = opened((lists / "fi-v6.xml").read_bytes())
    at = datetime(2024, 12, 1, tzinfo=UTC)
    standings = [service.find_status(at) for service in found.services]
    statuses = Counter(each.status.rsplit("/", 1)[-1] for each in standings if each)
    assert statuses == {"granted": 12, "withdrawn": 7}
    assert sum(1 for each in standings if each and get_levels(each, (found.rules,), at)) == 6
    citizen = next(each for each in found.services if "Citizen Qualified" in each.name)
    assert [each.status.rsplit("/", 1)[-1] for each in citizen.status_history][:2] == ["withdrawn", "granted"]
    assert all(each.certificates and not each.unread for each in found.services)


@pytest.mark.vectors
def test_a_list_of_lists_names_who_signs_the_national_one(lists: Path) -> None:
    found = opened((lists / "eu-lotl.xml").read_bytes())
    irish = opened((lists / "ie-tl.xml").read_bytes())
    scheme = found.find_scheme("IE", "list")
    assert scheme is not None
    assert irish.signer in scheme.signers
    assert scheme.rules is None
    finnish = opened((lists / "fi-v6.xml").read_bytes())
    assert finnish.signer not in scheme.signers
    assert any(each.unread for each in found.schemes), "some certificates there break our rules"


@pytest.mark.vectors
def test_the_judge_and_the_reader_agree(lists: Path) -> None:
    for path in sorted(lists.glob("*.xml")):
        verdict = verify_any_document(path.read_bytes(), {}, STRICT).verdict
        try:
            open_sealed_document(path.read_bytes(), Anybody())  # type: ignore[arg-type]
            good = True
        except GatewayError:
            good = False
        assert good == (verdict == "valid"), path.name


def test_statuses_follow_time() -> None:
    certificate = country("Zed").authority.certificate
    found = ours(etsi_list("ZZ", "Zed", [etsi_service(certificate, [(WITHDRAWN, 10), (GRANTED, 90)])]))
    (only,) = found.services
    assert (only.name, only.certificates) == ("A service", (certificate,))
    assert only.find_status(NOW - 91 * DAY) is None
    for days, levels in ((90, {QC}), (11, {QC}), (10, set()), (0, set())):
        at = NOW - days * DAY
        state = only.find_status(at)
        assert state is not None
        assert get_levels(state, (found.rules,), at) == levels, days


@pytest.mark.parametrize(
    ("extension", "level"),
    [
        ("", True),
        ('<Extension Critical="true"><Strange xmlns="urn:x"/></Extension>', False),
        ('<Extension Critical="true">strange words</Extension>', False),
        ('<Extension><Strange xmlns="urn:x"/></Extension>', False),
        ('<Extension Critical="false"><Strange xmlns="urn:x"/></Extension>', True),
        ('<Extension Critical="true"><ExpiredCertsRevocationInfo/></Extension>', True),
    ],
)
def test_a_critical_extension_that_is_not_understood(extension: str, level: bool) -> None:
    certificate = country("Zed").authority.certificate
    found = ours(etsi_list("ZZ", "Zed", [etsi_service(certificate, extension=extension)]))
    state = found.services[0].find_status(NOW)
    assert state is not None
    assert bool(get_levels(state, (found.rules,), NOW)) == level


def test_a_comment_that_no_signature_covers_cuts_no_word() -> None:
    data = etsi_list("ZZ", "Zed", [etsi_service(country("Zed").authority.certificate)], sequence=56)
    changed = data.replace(b">56<", b">5<!-- -->6<")
    assert changed != data
    assert ours(changed).sequence == 56


def test_a_signature_elsewhere_than_last_is_refused() -> None:
    data = etsi_list("ZZ", "Zed")
    moved = data.replace(b"</TrustServiceStatusList>", b"<!-- -->text</TrustServiceStatusList>")
    with pytest.raises(GatewayError, match="GW202"):
        ours(moved)
    start, end = data.index(b"<ds:Signature"), data.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    first = data.index(b"<SchemeInformation")
    moved = data[:first] + data[start:end] + data[first:start] + data[end:]
    with pytest.raises(GatewayError, match="GW203 ds:Signature is not the last child"):
        ours(moved)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"<TSLSequenceNumber>5</TSLSequenceNumber>", b"", "TSLSequenceNumber is missing"),
        (b">5</TSLSequenceNumber>", b">-5</TSLSequenceNumber>", "not a sequence number"),
        (b"<SchemeTerritory>ZZ</SchemeTerritory>", b"<SchemeTerritory/>", "empty"),
        (b"<TSLVersionIdentifier>6<", b"<TSLVersionIdentifier>7<", "version 7"),
        (b"<SchemeTerritory>ZZ<", b"<SchemeTerritory>ZZ</SchemeTerritory><SchemeTerritory>YY<", "twice"),
        (b"<ListIssueDateTime>2026", b"<ListIssueDateTime>26", "not a date and time"),
        (b"TrustServiceStatusList", b"SomethingElse", "not a trusted list"),
    ],
)
def test_a_list_that_is_malformed(before: bytes, after: bytes, words: str) -> None:
    data = etsi_list("ZZ", "Zed")
    bare = data[: data.index(b"<ds:Signature")] + b"</TrustServiceStatusList>"
    assert before in bare
    with pytest.raises(GatewayError, match=f"GW402 .*{words}"):
        ours(signed(bare.replace(before, after), "Zed"))


def test_what_a_national_list_points_to_counts_for_nothing() -> None:
    pointers = [pointer("XX", country("Mallory").operator.certificate)]
    assert ours(etsi_list("ZZ", "Zed", pointers=pointers)).schemes == ()
    (scheme,) = ours(etsi_list("ZZ", "Zed", pointers=pointers, of_lists=True)).schemes
    assert (scheme.territory, scheme.rules) == ("XX", None)


def test_an_agreement_and_its_history() -> None:
    text = agreement(state=REPEALED, history=past_state("http://ec.europa.eu/tools/lotl/mra/enacted", 90))
    data = etsi_list(
        "EU", "Zed", pointers=[pointer("ZZ", country("Zed").operator.certificate, text)], of_lists=True
    )
    rules = ours(data).schemes[0].rules
    assert rules is not None
    assert [(each.enacted, each.since, each.until) for each in rules] == [
        (False, NOW - 60 * DAY, None),
        (True, NOW - 90 * DAY, NOW - 60 * DAY),
    ]
    holding = [
        sum(rule.is_in_force(NOW - timedelta(days=days)) for rule in rules) for days in (91, 90, 61, 60, 0)
    ]
    assert holding == [0, 1, 1, 0, 0]


def test_an_agreement_of_a_schema_that_is_not_read_admits_nobody() -> None:
    text = agreement(namespace="http://ec.europa.eu/tools/lotl/mra/schema/v3#")
    data = etsi_list(
        "EU", "Zed", pointers=[pointer("ZZ", country("Zed").operator.certificate, text)], of_lists=True
    )
    assert ours(data).schemes[0].rules == ()
    newer = agreement().replace("m:MutualRecognition", "n:MutualRecognition")
    newer = newer.replace("technicalType", 'xmlns:n="urn:newer" technicalType', 1)
    entry = pointer("ZZ", country("Zed").operator.certificate, newer)
    assert ours(etsi_list("EU", "Zed", pointers=[entry], of_lists=True)).schemes[0].rules == ()
