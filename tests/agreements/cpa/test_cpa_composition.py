"""Two profiles become a proposed agreement of what they have in common."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from gateway.agreements import (
    CpaTerms,
    ProfileFile,
    RegisteredParty,
    accept_cpa,
    check_cpa,
    compose_cpa,
    convert_cpa,
    list_certificate_uses,
    list_omitted_actions,
    read_cpa,
    read_pmodes,
    write_profile,
)
from gateway.cli import main
from gateway.errors import GatewayError
from gateway.message_model import PartyId
from gateway.wire import TP
from tests.agreements.cpa.documents import list_real_files
from tests.agreements.cpa.foreign_reader import list_faults, list_schema_errors
from tests.agreements.cpa.test_foreign_reader import (
    BOUND_TO_SIGNALS,
    compute_pin,
    register_parties,
    summarize,
)
from tests.agreements.cpa.written_cpa import NOW, write_cpa
from tests.kit.house import AGREEMENT

PERIOD = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC))


def cut_good_profile(number: int, *changes: tuple[str, str], nested: bool = False) -> bytes:
    """Return the profile of one party of the good agreement."""
    text = write_cpa(*changes, nested=nested).decode()
    head, first, rest = text.partition("<tp:PartyInfo ")
    one, second, tail = rest.partition("<tp:PartyInfo ")
    other, end, last = tail.partition("</tp:PartyInfo>")
    party = first + one if number == 0 else second + other + end
    text = head.partition("<tp:Status")[0].replace("tp:cpaid", "tp:cppid") + party + last
    return text.replace("CollaborationProtocolAgreement", "CollaborationProtocolProfile").encode()


@pytest.mark.night
@pytest.mark.parametrize("nested", [False, True])
def test_two_profiles_become_the_agreement_that_they_came_from(nested: bool) -> None:
    profiles = [ProfileFile(cut_good_profile(number, nested=nested), f"{number}.xml") for number in (0, 1)]
    data = compose_cpa(*profiles, CpaTerms("urn:example:cpa:1", *PERIOD))
    judged = check_cpa(data, "proposal.xml", NOW)
    assert judged.document is not None
    assert judged.document.status == "proposed"
    errors = [one.rule for one in judged.findings if one.severity == "error"]
    assert errors == ["status-proposed"]
    wanted = convert_cpa(read_cpa(write_cpa(nested=nested), "a.xml"))
    found = {one.id: one for one in convert_cpa(judged.document)}
    assert {
        one.id: (one.action, one.endpoint, one.security, one.reliability, one.answers) for one in wanted
    } == {
        name: (one.action, one.endpoint, one.security, one.reliability, one.answers)
        for name, one in found.items()
    }


def test_what_only_one_has_is_left_out_and_nothing_in_common_is_refused() -> None:
    other = cut_good_profile(1, ('tp:action="OrderResponse"', 'tp:action="Other"'))
    data = compose_cpa(
        ProfileFile(cut_good_profile(0), "a.xml"), ProfileFile(other, "b.xml"), CpaTerms("c", *PERIOD)
    )
    assert [one.action for one in convert_cpa(read_cpa(data, "c.xml"))] == ["Order"]
    stranger = cut_good_profile(1, ("urn:example:service:order", "urn:example:service:other"))
    with pytest.raises(GatewayError) as caught:
        compose_cpa(
            ProfileFile(cut_good_profile(0), "a.xml"),
            ProfileFile(stranger, "b.xml"),
            CpaTerms("c", *PERIOD),
        )
    assert caught.value.problem.id == "GW313"


def test_of_several_roles_with_one_service_those_in_one_process_are_bound() -> None:
    root = etree.fromstring(cut_good_profile(1))
    seller = next(root.iter(f"{{{TP}}}CollaborationRole"))
    clerk = etree.fromstring(etree.tostring(seller).replace(b'tp:id="', b'tp:id="clerk-'))
    process, role = (next(clerk.iter(f"{{{TP}}}{name}")) for name in ("ProcessSpecification", "Role"))
    process.set("{http://www.w3.org/1999/xlink}href", "urn:example:process:other")
    role.set(f"{{{TP}}}name", "Clerk")
    seller.addprevious(clerk)
    profiles = ProfileFile(cut_good_profile(0), "a.xml"), ProfileFile(etree.tostring(root), "b.xml")
    for pair in (profiles, profiles[::-1]):
        data = compose_cpa(*pair, CpaTerms("c", *PERIOD))
        roles = {(pmode.from_role, pmode.to_role) for pmode in convert_cpa(read_cpa(data, "c.xml"))}
        assert roles == {("Buyer", "Seller"), ("Seller", "Buyer")}
        assert "process-different" not in {one.rule for one in check_cpa(data, "c.xml", NOW).findings}
        assert list_omitted_actions(profiles[0], data) == []
        named = [words.partition(" of ")[0] for words in list_omitted_actions(profiles[1], data)]
        assert sorted(named) == ["party-b receives Order", "party-b sends OrderResponse"]


@pytest.mark.parametrize("nested", [0, 1])
def test_a_response_that_is_within_its_request_on_one_side_only_is_told(
    nested: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (0, 1):
        (tmp_path / f"{number}.xml").write_bytes(cut_good_profile(number, nested=number == nested))
    words = ["agreement", "compose", *(str(tmp_path / f"{number}.xml") for number in (0, 1)), "--id", "c"]
    words += ["--start", "2026-01-01T00:00:00Z", "--end", "2029-01-01T00:00:00Z", "--out"]
    assert main([*words, str(tmp_path / "c.xml")]) == 0
    printed = capsys.readouterr().out
    within = [" within Order" if number == nested else "" for number in (0, 1)]
    assert (
        f"left out: party-a receives OrderResponse{within[0]} of urn:example:service:order, as Buyer"
        in printed
    )
    assert (
        f"left out: party-b sends OrderResponse{within[1]} of urn:example:service:order, as Seller" in printed
    )
    assert main([*words, str(tmp_path / "c.xml"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["left_out"]) == 2


@pytest.mark.parametrize("name", ["a\x01b", "a\ufffe", "\ud800"])
def test_a_name_that_no_xml_can_hold_is_refused(name: str) -> None:
    profiles = ProfileFile(cut_good_profile(0), "a.xml"), ProfileFile(cut_good_profile(1), "b.xml")
    with pytest.raises(GatewayError, match="GW313 the name of the agreement cannot stand in XML"):
        compose_cpa(*profiles, CpaTerms(name, *PERIOD))
    pmodes, own = read_pmodes(AGREEMENT, "a.yaml"), PartyId("hub", "urn:example:party-type")
    with pytest.raises(GatewayError, match="GW313 a text of the profile cannot stand in XML"):
        write_profile(pmodes, own, name, {}, {})


def test_the_verb_writes_a_proposal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (0, 1):
        (tmp_path / f"{number}.xml").write_bytes(cut_good_profile(number))
    words = ["agreement", "compose", *(str(tmp_path / f"{number}.xml") for number in (0, 1)), "--id", "c"]
    period = ["--start", "2026-01-01T00:00:00Z", "--end", "2029-01-01T00:00:00Z"]
    assert main([*words, *period, "--out", str(tmp_path / "c.xml")]) == 0
    assert "Agreement c is proposed in " in capsys.readouterr().out
    assert read_cpa((tmp_path / "c.xml").read_bytes(), "c.xml").id == "c"
    assert main([*words, "--start", period[3], "--end", period[1], "--out", str(tmp_path / "d.xml")]) == 2


def cut_profile(agreement: bytes, number: int) -> bytes:
    """Return one party of a CPA as its profile, which names no binding of the other party."""
    root = etree.fromstring(agreement)
    parties = root.findall(f"{{{TP}}}PartyInfo")
    for name in ("Status", "Start", "End"):
        root.remove(root.find(f"{{{TP}}}{name}"))
    root.remove(parties[1 - number])
    for other in list(root.iter(f"{{{TP}}}OtherPartyActionBinding")):
        other.getparent().remove(other)
    root.tag = f"{{{TP}}}CollaborationProtocolProfile"
    root.set(f"{{{TP}}}cppid", root.attrib.pop(f"{{{TP}}}cpaid"))
    return etree.tostring(root)


def write_own_profile(file: Path, number: int) -> bytes:
    """Return our profile of a party of a CPA, made of what was read of it."""
    document = read_cpa(file.read_bytes(), file.name)
    party, pmodes = document.parties[number], convert_cpa(document)
    held = {compute_pin(one.chain[0]): one.chain[0] for one in party.certificates.values()}
    own = PartyId(party.ids[0].value, party.ids[0].type)
    pins = {use: compute_pin(holder.chain[0]) for holder, use in list_certificate_uses(party)}
    registered = RegisteredParty(
        party.name,
        tuple(pins[one] for one in ("signing",) if one in pins),
        tuple(pins[one] for one in ("encryption",) if one in pins),
        *(pins.get("tls"), pins.get("tls")),
    )
    return write_profile(pmodes, own, "ours", {own: registered}, held)


@pytest.mark.night
@pytest.mark.vectors
def test_our_profile_and_that_of_another_product_become_what_both_agreed(vectors: Path) -> None:
    for file in list_real_files(vectors):
        original = file.read_bytes()
        ours = ProfileFile(write_own_profile(file, 0), "ours.xml")
        theirs = ProfileFile(cut_profile(original, 1), "theirs.xml")
        terms = CpaTerms("composed", PERIOD[0], datetime(2030, 1, 1, tzinfo=UTC))
        agreed = accept_cpa(compose_cpa(ours, theirs, terms), "proposal.xml")
        faults = list_faults(agreed)
        if file.name == BOUND_TO_SIGNALS:
            faults = [one for one in faults if not one.endswith("is bound to the package of signals")]
        assert (file.name, faults, list_schema_errors(agreed, vectors)) == (file.name, [], [])
        judged = check_cpa(agreed, "agreed.xml", NOW)
        assert [one.rule for one in judged.findings if one.severity == "error"] == [], file.name
        assert summarize(agreed) == summarize(original), file.name


@pytest.mark.night
@pytest.mark.parametrize("bits", [2048, 0], ids=["rsa", "p-256"])
def test_two_profiles_of_ours_become_an_agreement_that_both_load(bits: int) -> None:
    pmodes = read_pmodes(AGREEMENT, "a.yaml")
    registered, certificates = register_parties(pmodes, bits)
    broker, hub = registered
    profiles = [
        ProfileFile(
            write_profile(pmodes, own, own.value, {own: registered[own]}, certificates), f"{own.value}.xml"
        )
        for own in (hub, broker)
    ]
    proposal = compose_cpa(*profiles, CpaTerms("urn:example:cpa:2", *PERIOD))
    assert list_faults(proposal) == ["the agreement is not agreed"]
    agreed = accept_cpa(proposal, "proposal.xml")
    assert list_faults(agreed) == []
    # Of what a party verifies, that is left by which the other one signs.
    names = {one.text for one in etree.fromstring(agreed).iter(f"{{{TP}}}SignatureAlgorithm")}
    assert [name.rpartition("#")[2] for name in names] == ["rsa-sha256" if bits else "ecdsa-sha256"]
    judged = check_cpa(agreed, "agreed.xml", NOW)
    assert {one.rule for one in judged.findings if one.severity != "note"} <= {"certificate-ends-early"}
    found = {one.action: one for one in convert_cpa(read_cpa(agreed, "agreed.xml"))}
    assert set(found) == {one.action for one in pmodes}
    for one in pmodes:
        other = found[one.action]
        assert (other.from_party, other.to_party, other.endpoint) == (
            one.from_party,
            one.to_party,
            one.endpoint,
        )
        assert (other.deliver_to, other.reliability, other.sync_reply_mode) == (
            one.deliver_to,
            one.reliability,
            one.sync_reply_mode,
        )
        assert other.security.needs_signed_status
        assert other.security.certificates == registered[one.from_party[0]].signing_certificates
        assert other.security.trust_anchors == registered[one.from_party[0]].signing_certificates
        assert other.security.reply_certificates == registered[one.to_party[0]].signing_certificates


def test_a_profile_says_nothing_of_the_other_party() -> None:
    pmodes = read_pmodes(AGREEMENT, "a.yaml")
    registered, certificates = register_parties(pmodes)
    _, hub = registered
    data = write_profile(pmodes, hub, "hub", registered, certificates)
    document = read_cpa(data, "hub.xml", is_profile=True)
    assert [(one.name, one.ids[0].value) for one in document.parties] == [("Party 1", "hub")]
    held = {compute_pin(one.chain[0]) for one in document.parties[0].certificates.values()}
    assert held <= {*registered[hub].signing_certificates, registered[hub].server_certificate}
    assert b"OtherPartyActionBinding" not in data
    with pytest.raises(GatewayError) as caught:
        write_profile(pmodes, PartyId("stranger"), "x", registered, certificates)
    assert caught.value.problem.id == "GW313"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (write_cpa(), "the agreement is agreed: there is nothing to agree"),
        (write_cpa(('tp:value="agreed"', 'tp:value="signed"')), "the agreement is signed"),
        (b"<a/>", "the root element is a"),
    ],
)
def test_only_a_proposal_is_agreed(data: bytes, words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        accept_cpa(data, "a.xml")
    assert (caught.value.problem.id, words in caught.value.detail) == ("GW313", True)


def test_what_a_receiver_says_is_where_its_messages_go() -> None:
    terms = """<sw:Terms xmlns:sw="urn:single-window:agreement:1" values='{%s}'/>"""
    data = write_cpa(("<!--b-receive-->", terms % '"deliver_to": "case"'))
    assert [one.deliver_to for one in convert_cpa(read_cpa(data, "a.xml"))] == ["case", "mailbox"]
    for wrong in ('"deliver_to": "case", "endpoint": "http://x.example"', "", '"deliver_to": "nobody"'):
        data = write_cpa(("<!--b-receive-->", terms % wrong))
        with pytest.raises(GatewayError) as caught:
            convert_cpa(read_cpa(data, "a.xml"))
        assert caught.value.problem.id == "GW313"
