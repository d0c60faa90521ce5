"""The parties of an agreement are those of its first P-Mode and of every later version."""

from __future__ import annotations

import json
from typing import Any

from gateway.hub.register.effective_pmodes import AgreementTexts, PModeTexts
from gateway.message_model import PartyId


def make_parameters(sender: str, receiver: str) -> dict[str, Any]:
    return {"from_party": [[sender, "t"]], "to_party": [[receiver, "t"]]}


def test_the_parties_of_every_later_version_are_listed() -> None:
    period = {"valid_from": "2027-01-01T00:00:00+00:00", "valid_until": "2028-01-01T00:00:00+00:00"}
    origin = {"kind": "pmode", "loaded_at": "2026-11-20T09:00:00+00:00", "loaded_by": "operator"}
    versions = [
        {"pmodes": [make_parameters("a", "c"), make_parameters("d", "a")], **period, **origin},
        {"pmodes": [make_parameters("a", "e")], **period, **origin},
    ]
    texts = {"p": json.dumps(make_parameters("a", "b"))}
    changed = AgreementTexts(texts, successors=json.dumps(versions))
    known = PModeTexts({"first": AgreementTexts(texts), "changed": changed})
    assert known.list_parties("first") == {PartyId("a", "t"), PartyId("b", "t")}
    assert known.list_parties("changed") == {PartyId(value, "t") for value in "abcde"}
