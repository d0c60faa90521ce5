"""What holds for everybody needs no credentials: documents, forms, rules, problems, the state."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.errors import PROBLEMS
from gateway.process_log import format_text
from gateway.web import hub_readiness
from tests.kit.api import Api, Client, document
from tests.kit.house import Away
from tests.kit.story import Story


@pytest.fixture
def stranger(api: Api) -> Client:
    return api.visit()


@pytest.mark.long
def test_documents_and_their_forms_are_told(stranger: Client) -> None:
    found = stranger.get("documents").json["documents"]
    assert {"KPTA-PHARM-IMP", "KFDA-FOOD-IMP", "NPQS-PLA-IMP"} <= {one["id"] for one in found}
    for one in found:
        form = stranger.get(f"documents/{one['id']}/form").json
        assert form["common"]
        assert all(each["label_ko"] for each in form["unique"])
    assert stranger.refusal("documents/NONE/form") == (404, "GW112")


def test_rules_and_status_codes_are_told(stranger: Client) -> None:
    rules = stranger.get("rules").json
    assert {one["severity"] for one in rules["declaration"]} <= {"error", "warning"}
    assert any(one["code"] == "R01" for one in rules["status_codes"])


@pytest.mark.long
def test_every_kind_of_problem_is_told(stranger: Client) -> None:
    told = stranger.get("problems").json["problems"]
    assert [one["id"] for one in told] == sorted(PROBLEMS)
    for one in told:
        assert 400 <= one["status"] < 600
        assert stranger.get(f"problems/{one['id']}").json == one
    assert stranger.refusal("problems/GW000") == (404, "GW112")
    assert stranger.refusal("problems/..") == (404, "GW112")


def test_the_type_of_a_problem_leads_to_its_kind(stranger: Client) -> None:
    problem = stranger.get("cases").json
    assert stranger.get(problem["type"]).json["id"] == problem["id"] == "GW214"


def test_the_state_is_told(stranger: Client, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)
    assert stranger.get("status").json["ready"] is True
    story.hub.signer = Away()
    told = stranger.get("status").json
    assert (told["ready"], told["problem_id"]) == (False, "GW803")


def test_a_mistake_of_ours_shows_no_detail(
    stranger: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.web.api.reference_operations.PROBLEMS", None)
    answer = stranger.get("problems/GW901")
    assert (answer.status_code, answer.json["id"]) == (503, "GW901")
    assert "NoneType" not in answer.text
    assert [format_text(record) for record in caplog.records if record.levelno == logging.ERROR] == [
        "api: AttributeError path=/api/v1/problems/GW901"
    ]


@pytest.mark.long
def test_the_document_is_served_and_is_sound(stranger: Client) -> None:
    served = stranger.get("openapi.json").json
    assert served == document()
    assert served["openapi"] == "3.1.0"
    for name, schema in served["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema.get("description"), name
    names = [each["operationId"] for one in served["paths"].values() for each in one.values()]
    assert len(names) == len(set(names))


#: What the API itself refuses with, and what of the database reaches its callers.
OF_THE_API = {
    *("GW101", "GW102", "GW103", "GW110", "GW111", "GW112", "GW206", "GW212", "GW213", "GW214", "GW302"),
    *("GW312", "GW320", "GW803", "GW804", "GW805", "GW806", "GW807", "GW809", "GW901"),
}


def test_what_helps_is_what_a_client_of_the_api_can_do(stranger: Client) -> None:
    told = {one["id"]: one["remedy"] for one in stranger.get("problems").json["problems"]}
    for name in OF_THE_API:
        for word in (
            "`gateway ",
            "Operator:",
            "multipart/related",
            "MessageId",
            "[limits]",
            "plain HTTP/1.1 POST",
        ):
            assert word not in told[name], (name, told[name])
    assert "Idempotency-Key" in told["GW312"]
    answer = stranger.post("cases")
    assert (answer.json["id"], answer.json["remedy"]) == ("GW110", told["GW110"])


def list_good_answers() -> dict[str, dict[str, Any]]:
    """Return the schema of each media type of each good answer, by operation."""
    return {
        each["operationId"]: {
            kind: content.get("schema", {})
            for status, answer in each["responses"].items()
            if status.startswith("2")
            for kind, content in answer.get("content", {}).items()
        }
        for one in document()["paths"].values()
        for each in one.values()
    }


def test_every_answer_has_a_schema() -> None:
    """A generated client returns nothing of an answer without one."""
    answers = list_good_answers()
    assert not [name for name, kinds in answers.items() for schema in kinds.values() if not schema]
    binary = {"type": "string", "format": "binary"}
    assert {name for name, kinds in answers.items() if binary in kinds.values()} == {
        "getResult",
        "getDocument",
        "getReceipt",
        "getEvidenceBundle",
    }
    assert answers["streamEvents"] == {"text/event-stream": {"type": "string"}}


def test_an_unknown_address_or_method_is_told_in_problem_details(stranger: Client) -> None:
    assert stranger.refusal("nothing") == (404, "GW112")
    assert stranger.refusal("/api/v2/cases") == (404, "GW112")
    answer = stranger.post("cases")
    assert stranger.problem(answer) == (405, "GW110")
    assert answer.headers["Allow"] == "GET, HEAD"
