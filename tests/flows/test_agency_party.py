"""An agency whose party in the register has another name than its section of the settings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Engine

from gateway.config import AgencySettings
from gateway.web.agency_service import apply_agency_call, build_agency_service, build_soap_security
from gateway.wire import SERVICE_AGENCY, AddressingHeaders, parse_xml, serialize_element
from gateway.xmlsec import sign_soap_envelope
from tests.flows.test_agency_page import call_hub, example
from tests.kit.house import signer_named
from tests.kit.officers import ConsoleStory
from tests.kit.soap import envelope
from tests.kit.story import Story

ENDPOINT = "https://agency.example/"
#: The party KFDA is the agency KPTA.
OF_ANOTHER_NAME = {"KPTA": AgencySettings(endpoint=ENDPOINT, party="KFDA")}


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.submit()
    started.tick()
    return started


def decide(story: Story, sections: dict[str, AgencySettings], signer: str) -> tuple[str, bytes]:
    """Let a party approve the application of KPTA; return status and answer of the hub."""
    request = parse_xml(example("decision"))[1][0]
    request[0].text = story.number_of("KPTA")
    root = envelope(request, AddressingHeaders(f"{SERVICE_AGENCY}:SubmitDecision", f"urn:uuid:{signer}"))
    sign_soap_envelope(root, signer_named(signer), now=story.clock())
    gate = build_agency_service(
        partial(apply_agency_call, story.hub, sections), build_soap_security(story.hub)
    )
    return call_hub(gate, serialize_element(root))


def test_the_call_of_its_party_decides(story: Story) -> None:
    status, answer = decide(story, OF_ANOTHER_NAME, "kfda")
    assert status == "200 OK", answer
    assert story.request("KPTA").state == "DECIDED"


@pytest.mark.parametrize(
    ("sections", "signer", "sentence"),
    [
        (OF_ANOTHER_NAME, "kpta", b"KPTA is not the party of the agency of this name"),
        (
            OF_ANOTHER_NAME | {"KFDA": AgencySettings(endpoint=ENDPOINT)},
            "kfda",
            b"KFDA is the party of several agencies (KPTA, KFDA)",
        ),
    ],
    ids=["name of an agency", "several agencies"],
)
def test_the_call_of_a_party_that_is_not_one_agency_is_refused(
    story: Story, sections: dict[str, AgencySettings], signer: str, sentence: bytes
) -> None:
    status, answer = decide(story, sections, signer)
    assert status.startswith("500")
    assert b">GW209<" in answer
    assert sentence in answer
    assert story.request("KPTA").state != "DECIDED"


@pytest.mark.parametrize(("key", "state"), [("kfda", "PERFORMED"), ("kpta", "REFUSED")])
def test_an_officer_decides_with_the_key_of_its_party(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, key: str, state: str
) -> None:
    story = ConsoleStory(engine, party="KFDA")
    story.addresses["KPTA"] = replace(story.addresses["KPTA"], party="KFDA")
    monkeypatch.setattr(story.keys, "get_signer", lambda _agency: signer_named("kfda"))
    view = story.arrive()
    monkeypatch.setattr(story.keys, "get_signer", lambda _agency: signer_named(key))
    outcome = story.desk.perform_act(story.officer("kim"), view.number, story.decision(), view.shown_digest)
    assert outcome.state == state
