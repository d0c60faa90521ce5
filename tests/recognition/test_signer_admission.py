"""Who is admitted by a trusted list, and over which agreements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.pki import Certificate, CertificateUse
from gateway.pki import trust_store as paths
from gateway.recognition import (
    Admission,
    RecognitionContext,
    TrustedList,
    admit_signer,
    open_named_lists,
    open_trusted_list,
)
from tests.recognition.sample_lists import (
    DAY,
    GRANTED,
    NOW,
    QC,
    SIGNATURES,
    WITHDRAWN,
    agreement,
    country,
    etsi_list,
    etsi_service,
    own_list,
    pointer,
    rule,
    scheme,
    service,
    standing,
    trust,
)

ZED = country("Zed").party.certificate
GOOD, ACTIVE = "http://zz.example/type/good", "http://zz.example/status/active"


def judged(recognition: RecognitionContext, certificate: Certificate = ZED) -> Admission:
    return admit_signer(certificate, NOW, CertificateUse.SIGNING, recognition)


def read(data: bytes, name: str) -> TrustedList:
    return open_trusted_list(data, {country(name).operator.certificate})


def test_an_anchor_of_our_own() -> None:
    admission = judged(RecognitionContext(trust()), country("Home").party.certificate)
    assert (admission.mode, admission.verdict.status) == ("anchor", "valid")
    stranger = judged(RecognitionContext(trust()))
    assert (stranger.mode, stranger.verdict.status, stranger.levels) == (None, "invalid", frozenset())


def test_a_service_on_our_own_list() -> None:
    rules = (rule(["ca"], ["granted"], "qualified"),)
    for states, mode in (
        ([standing("ca", "granted")], "trust-list"),
        ([standing("ca", "withdrawn", 5), standing("ca", "granted")], None),
        ([standing("tsa", "granted")], None),
    ):
        _, root = own_list(services=(service(country("Zed").authority, *states),), rules=rules)
        admission = judged(RecognitionContext(trust(), root))
        assert admission.mode == mode, states
        assert admission.levels == ({"qualified"} if mode else set())
        if mode:
            assert admission.source.startswith("KR 7: Provider")
        else:
            assert "of no level" in admission.verdict.reason


def zed_list(status: str = GRANTED, sequence: int = 5, kind: str = QC, name: str = "Zed") -> TrustedList:
    one = etsi_service(country("Zed").authority.certificate, [(status, 40)], kind=kind)
    return read(etsi_list("ZZ", name, [one], sequence=sequence), name)


RULE = rule([f"{QC} {SIGNATURES}"], [GRANTED], "qualified")


def test_a_list_of_others_that_our_list_names() -> None:
    _, root = own_list(schemes=(scheme("ZZ", "Zed", RULE),))
    admission = judged(RecognitionContext(trust(), root, (zed_list(),)))
    assert (admission.mode, admission.levels) == ("trust-list", {"qualified"})
    assert admission.verdict.path[-1] == country("Zed").authority.certificate


@pytest.mark.parametrize(
    ("root", "others"),
    [
        (own_list(schemes=())[1], [zed_list()]),
        (own_list(schemes=(scheme("YY", "Zed", RULE),))[1], [zed_list()]),
        (own_list(schemes=(scheme("ZZ", "Mallory", RULE),))[1], [zed_list()]),
        (own_list(schemes=(scheme("ZZ", "Zed", RULE, role="voucher"),))[1], [zed_list()]),
        (own_list(schemes=(scheme("ZZ", "Zed"),))[1], [zed_list()]),
        (own_list(schemes=(scheme("ZZ", "Zed", RULE),))[1], [zed_list(WITHDRAWN)]),
        (own_list(schemes=(scheme("ZZ", "Zed", RULE),), next_update=NOW)[1], [zed_list()]),
        (own_list(schemes=(scheme("ZZ", "Zed", RULE),))[1], [replace(zed_list(), next_update=NOW)]),
        # the later of two lists speaks, though the earlier is still within its time
        (own_list(schemes=(scheme("ZZ", "Zed", RULE),))[1], [zed_list(), zed_list(WITHDRAWN, 6)]),
        (None, [zed_list()]),
    ],
    ids=[
        "unnamed",
        "territory",
        "signer",
        "role",
        "no rule",
        "withdrawn",
        "stale",
        "stale other",
        "older",
        "no root",
    ],
)
def test_a_list_of_others_that_counts_for_nothing(
    root: TrustedList | None, others: list[TrustedList]
) -> None:
    for order in (others, others[::-1]):
        assert judged(RecognitionContext(trust(), root, tuple(order))).mode is None


def test_lists_that_name_one_another_admit_nobody() -> None:
    """Nothing is believed that does not start from the root."""
    zed = etsi_service(country("Zed").authority.certificate)
    one = etsi_list(
        "XX", "Mallory", [zed], [pointer("ZZ", country("Zed").operator.certificate)], of_lists=True
    )
    other = etsi_list(
        "ZZ", "Zed", [zed], [pointer("XX", country("Mallory").operator.certificate)], of_lists=True
    )
    _, root = own_list()
    assert judged(RecognitionContext(trust(), root, (read(one, "Mallory"), read(other, "Zed")))).mode is None


def test_another_gateways_list_speaks_for_its_own_services_only() -> None:
    """Whom they admit in turn is their affair: nobody comes in by a friend of a friend."""
    _, root = own_list(schemes=(scheme("YY", "Yan", rule(["ca"], ["granted"], "qualified")),))
    _, theirs = own_list(name="Yan", territory="YY", schemes=(scheme("ZZ", "Zed", RULE),))
    assert judged(RecognitionContext(trust(), root, (theirs, zed_list()))).mode is None
    listed = (service(country("Zed").authority, standing("ca", "granted")),)
    _, theirs = own_list(name="Yan", territory="YY", services=listed)
    assert judged(RecognitionContext(trust(), root, (theirs,))).levels == {"qualified"}


def over_a_list_of_lists(text: str, kind: str = QC, status: str = GRANTED) -> Admission:
    """Judge Zed's party: our list names the EU's, which names Zed's with an agreement."""
    _, root = own_list(schemes=(scheme("EU", "Europe", RULE),))
    entry = pointer("ZZ", country("Zed").operator.certificate, text)
    lists = read(etsi_list("EU", "Europe", pointers=[entry], of_lists=True), "Europe")
    return judged(RecognitionContext(trust(), root, (zed_list(status, kind=kind), lists)))


@pytest.mark.night
def test_levels_over_an_agreement_of_others() -> None:
    assert over_a_list_of_lists("").levels == {"qualified"}
    assert over_a_list_of_lists(agreement(), GOOD, ACTIVE).levels == {"qualified"}
    assert over_a_list_of_lists(agreement(), GOOD, GRANTED).mode is None
    assert over_a_list_of_lists(agreement()).mode is None
    assert (
        over_a_list_of_lists(
            agreement(state="http://ec.europa.eu/tools/lotl/mra/repealed"), GOOD, ACTIVE
        ).mode
        is None
    )
    granted = f"<ServiceStatus>{GRANTED}</ServiceStatus>"
    other = "<ServiceStatus>http://other.example</ServiceStatus>"
    for said, levels in ((other + granted, {"qualified"}), (other, set()), ("", set())):
        text = agreement().replace(granted, said)
        assert over_a_list_of_lists(text, GOOD, ACTIVE).levels == levels, said
    old = agreement(namespace="http://mra.europa.eu/v1#")
    assert over_a_list_of_lists(old).mode is None


def test_an_agreement_on_contents_of_certificates_admits_nobody() -> None:
    extra = """<m:CertificateContentReferencesEquivalenceList><m:CertificateContentReferenceEquivalence>
      <m:CertificateContentReferenceEquivalenceContext>http://ec.europa.eu/tools/lotl/mra/QcCompliance
      </m:CertificateContentReferenceEquivalenceContext></m:CertificateContentReferenceEquivalence>
      </m:CertificateContentReferencesEquivalenceList>"""
    assert over_a_list_of_lists(agreement(extra=extra), GOOD, ACTIVE).mode is None


def test_a_list_of_lists_as_root_speaks_in_its_own_words() -> None:
    entry = pointer("ZZ", country("Zed").operator.certificate)
    lists = read(etsi_list("EU", "Europe", pointers=[entry], of_lists=True), "Europe")
    assert judged(RecognitionContext(trust(), lists, (zed_list(),))).levels == {QC}


def test_a_list_that_is_too_long_admits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    _, root = own_list(schemes=(scheme("ZZ", "Zed", RULE),))
    recognition = RecognitionContext(trust(), root, (zed_list(),))
    monkeypatch.setattr(paths, "MAX_STORE_CERTIFICATES", 0)
    admission = judged(recognition)
    assert (admission.mode, admission.verdict.status) == (None, "invalid")
    assert "more than 0 certificates" in admission.verdict.reason
    assert judged(recognition, country("Home").party.certificate).mode == "anchor"


def test_files_are_gathered_from_the_root() -> None:
    _, root = own_list(schemes=(scheme("EU", "Europe", RULE),))
    entry = pointer("ZZ", country("Zed").operator.certificate)
    one = etsi_service(country("Zed").authority.certificate)
    files = {
        "zed": etsi_list("ZZ", "Zed", [one]),
        "lists": etsi_list("EU", "Europe", pointers=[entry], of_lists=True),
        "stranger": etsi_list("XX", "Mallory", [one]),
        "pretender": etsi_list("EU", "Zed", [one]),
        "stale": etsi_list("EU", "Europe", next_update=(NOW - DAY / 2).isoformat()),
        "nonsense": b"nothing",
    }
    found, refused = open_named_lists(root, files, NOW)
    assert {each.territory for each in found} == {"EU", "ZZ"}
    assert {name: each.problem.id for name, each in refused.items()} == {
        "stranger": "GW205",
        "pretender": "GW205",
        "stale": "GW804",
        "nonsense": "GW104",
    }
    assert judged(RecognitionContext(trust(), root, found)).levels == {"qualified"}
