"""P-Modes become a CPA that is read into equal P-Modes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from gateway.agreements import (
    Encryption,
    PMode,
    RegisteredParty,
    check_cpa,
    convert_cpa,
    read_cpa,
    read_pmodes,
    write_cpa,
)
from gateway.agreements.cpa.cpa_values import TERMS_NAMESPACE
from gateway.errors import GatewayError
from gateway_conformance import DATA_FOLDER
from tests.agreements.cpa import written_cpa
from tests.agreements.cpa.documents import list_real_files
from tests.agreements.pmode_strategies import agreements

_GCM = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
EXAMPLE = DATA_FOLDER.joinpath("agreements", "example.yaml").read_bytes()


def read_again(pmodes: tuple[PMode, ...]) -> dict[str, PMode]:
    return {one.id: one for one in convert_cpa(read_cpa(write_cpa(pmodes, {}, {}), "again.xml"))}


@pytest.mark.night
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(agreements)
def test_any_pmodes_are_read_again_from_their_cpa(pmodes: tuple[PMode, ...]) -> None:
    assert read_again(pmodes) == {one.id: one for one in pmodes}


# The same are drawn each time; `GATEWAY_DRAWS` draws more.
@pytest.mark.night
@settings(
    max_examples=int(os.environ.get("GATEWAY_DRAWS", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(agreements)
def test_very_many_pmodes_are_read_again_from_their_cpa(pmodes: tuple[PMode, ...]) -> None:
    assert read_again(pmodes) == {one.id: one for one in pmodes}


@pytest.mark.night
@pytest.mark.parametrize("nested", [False, True])
def test_a_cpa_is_written_in_the_words_of_the_standard_alone(nested: bool) -> None:
    pmodes = convert_cpa(read_cpa(written_cpa.write_cpa(nested=nested), "a.xml"))
    data = write_cpa(pmodes, {}, {})
    assert f"<{{{TERMS_NAMESPACE}}}".encode() not in data
    assert b":Terms" not in data
    assert read_again(pmodes) == {one.id: one for one in pmodes}


@pytest.mark.parametrize("level", ["persistent", "transient-and-persistent"])
@pytest.mark.parametrize("attribute", ["isConfidential", "isAuthenticated", "isTamperProof"])
def test_each_level_beyond_the_connection_is_written_as_it_was(attribute: str, level: str) -> None:
    said = {"isConfidential": "none", "isAuthenticated": "none", "isTamperProof": "none"} | {attribute: level}
    characteristics = " ".join(f'tp:{name}="{value}"' for name, value in said.items())
    original = written_cpa.write_cpa(
        ('tp:isNonRepudiationRequired="true"', 'tp:isNonRepudiationRequired="false"'),
        (
            'tp:isConfidential="none" tp:isAuthenticated="persistent" tp:isTamperProof="persistent"',
            characteristics,
        ),
        *[
            (
                f"<!--{me}-decrypt-->",
                written_cpa.write_envelope("Receiver", _GCM).replace("b-cert", f"{me}-cert"),
            )
            for me in "ab"
        ],
    )
    pmodes = convert_cpa(read_cpa(original, "a.xml"))
    data = write_cpa(pmodes, {}, {})
    assert characteristics.replace("tp:", "").encode() in data.replace(b"tp:", b"")
    assert b'isNonRepudiationRequired="true"' not in data
    assert read_again(pmodes) == {one.id: one for one in pmodes}


@pytest.mark.vectors
def test_the_real_agreements_are_written_and_read_again(vectors: Path) -> None:
    plain = 0
    for file in list_real_files(vectors):
        document = read_cpa(file.read_bytes(), file.name)
        pmodes = convert_cpa(document)
        known = {
            pin: der
            for party in document.parties
            for holder in party.certificates.values()
            for der in holder.chain
            for pin in [__import__("hashlib").sha256(der).hexdigest()]
        }
        data = write_cpa(pmodes, {}, known)
        judged = check_cpa(data, file.name, written_cpa.NOW.replace(month=12))
        assert [one for one in judged.findings if one.severity == "error"] == [], file.name
        assert judged.document is not None
        assert {one.id: one for one in convert_cpa(judged.document)} == {one.id: one for one in pmodes}
        plain += b":Terms" not in data
    assert plain == 22


def test_an_agreement_in_yaml_becomes_a_cpa_that_can_be_loaded() -> None:
    pmodes = read_pmodes(EXAMPLE, "example.yaml")
    data = write_cpa(pmodes, {pmodes[0].from_party[0]: RegisteredParty("Broker 1")}, {})
    judged = check_cpa(data, "a.xml", pmodes[0].valid_from)
    assert [one for one in judged.findings if one.severity == "error"] == []
    assert judged.document is not None
    assert judged.document.parties[0].name == "Broker 1"
    assert {one.id: one for one in convert_cpa(judged.document)} == {one.id: one for one in pmodes}


@pytest.mark.night
@pytest.mark.parametrize("policy", ["legacy-cbc", "korea-seed"])
def test_the_policy_of_encryption_stands_in_the_terms_of_the_gateway(policy: str) -> None:
    terms = Encryption("XMLENC", ("http://www.w3.org/2009/xmlenc11#aes256-gcm",), policy=policy)
    pmodes = tuple(replace(one, encryption=terms) for one in read_pmodes(EXAMPLE, "example.yaml"))
    data = write_cpa(pmodes, {}, {})
    assert f"&quot;policy&quot;: &quot;{policy}&quot;".encode() in data
    assert {one.encryption for one in read_again(pmodes).values()} == {terms}


def test_what_is_no_agreement_of_two_parties_over_ebms_is_not_written() -> None:
    (first, *rest) = read_pmodes(EXAMPLE, "example.yaml")
    for wrong in (
        (replace(first, protocol="as4"), *rest),
        (
            replace(first, from_party=rest[2].to_party, to_party=(replace(first.to_party[0], value="x"),)),
            *rest,
        ),
        (replace(first, action="A\x00"), *rest),
    ):
        with pytest.raises(GatewayError) as caught:
            write_cpa(wrong, {}, {})
        assert caught.value.problem.id == "GW313"
