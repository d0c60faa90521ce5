"""Texts that no database stores, and numbers that no column holds, in every parameter of the API.

The parameters are those of the API's description: a new operation is tried without a change here.
"""

from __future__ import annotations

import base64
import io
import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from joserfc import jws
from lxml import etree
from werkzeug.test import TestResponse

from gateway.store import event_readers, write_transaction
from tests.kit.api import ASSERTION_TYPE, BOTH, Api, document, make_key
from tests.kit.house import signer_named
from tests.kit.long_texts import make_long_text
from tests.kit.story import Story

NUL, SURROGATE = "a\x00b", "a\ud800b"
#: The first numbers that an INTEGER and a BIGINT do not hold, and one that Python does not read.
NUMBERS = ("2147483648", "9223372036854775808", "9" * 5000)
#: More octets than any index of a database holds, which no compression shortens.
LONG = make_long_text(5_000)
#: Values by which the operations find something.
USUAL = {"document": "KFDA-FOOD-IMP", "problem": "GW110", "webhook": "hook", "id": "nothing"}


def quote_octets(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


def list_operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def list_parameters(operation: dict[str, Any], place: str) -> list[str]:
    return [one["name"] for one in operation.get("parameters", ()) if one["in"] == place]


def list_bodies(operation: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Return each media type of a body, and the names of its fields."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        if "$ref" in schema:
            schema = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        yield kind, [*schema.get("properties", ())]


class TriedApi:
    """The API with a case and a webhook, a party's software, and what was answered wrongly."""

    def __init__(self, story: Story, api: Api) -> None:
        self.api, self.client, self.story = api, api.client("broker1"), story
        story.submit()
        story.tick()
        with write_transaction(story.house.engine) as conn:
            event_readers.insert_webhook(
                conn, "hook", "broker1", "https://hooks.broker.example/", story.clock()
            )
        self.usual = USUAL | {"number": str(story.case().number)}
        self.wrong: list[tuple[str, ...]] = []

    def fill(self, path: str, **values: str) -> str:
        for name, value in (self.usual | values).items():
            path = path.replace(f"{{{name}}}", quote_octets(value))
        assert "{" not in path, path
        return path.removeprefix("/")

    def expect(self, answer: TestResponse, value: str, *where: str) -> None:
        """Note an answer that is a mistake of ours, or that takes a text that cannot be stored."""
        is_refused = 400 <= answer.status_code < 500
        if answer.status_code >= 500 or (value in (NUL, SURROGATE) and not is_refused):
            self.wrong.append((*where, value[:20], str(answer.status_code)))


@pytest.fixture
def tried(story: Story, api: Api) -> TriedApi:
    return TriedApi(story, api)


@BOTH
def test_every_parameter_of_the_api_is_read_by_one_reader(tried: TriedApi) -> None:
    for method, path, operation in list_operations():
        for value in (NUL, SURROGATE, LONG, *NUMBERS):
            for name in list_parameters(operation, "path"):
                answer = tried.client.ask(method, tried.fill(path, **{name: value}))
                tried.expect(answer, value, method, path, name)
            for name in (*list_parameters(operation, "query"), "anything"):
                address = f"{tried.fill(path)}?{quote_octets(name)}={quote_octets(value)}"
                answer = tried.client.ask(method, address)
                # Octets of a query that are no UTF-8 stay escaped.
                tried.expect(answer, value.replace(SURROGATE, "%ED%A0%80"), method, path, name)
            for name in {*list_parameters(operation, "header"), "Authorization"}:
                octets = value.encode("utf-8", "surrogatepass")
                made = {f"HTTP_{name.upper().replace('-', '_')}": octets.decode("latin-1")}
                address = f"/api/v1/{tried.fill(path)}"
                answer = tried.client.http.open(address, method=method, environ_overrides=made)
                if operation.get("security") != []:
                    tried.expect(answer, value, method, path, name)
            for kind, names in list_bodies(operation):
                for name in (*names, "anything"):
                    for answer in send_field(tried, method, tried.fill(path), kind, name, value):
                        tried.expect(answer, value, method, path, kind, name)
    assert tried.wrong == []


def send_field(
    tried: TriedApi, method: str, path: str, kind: str, name: str, value: str
) -> Iterator[TestResponse]:
    """Send bodies with one field; a lone surrogate where the format can write it."""
    if kind == "application/json":
        yield tried.client.ask(method, path, json={name: value})
        if value.isdigit():
            octets = f'{{"{name}": {value}}}'.encode()
            yield tried.client.ask(method, path, data=octets, content_type=kind)
    elif kind == "application/x-www-form-urlencoded" and value != SURROGATE:
        usual = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
        yield tried.client.ask(method, path, data=usual | {"client_assertion": "x"} | {name: value})
    elif kind == "multipart/form-data" and value != SURROGATE:
        for file in (value, (io.BytesIO(b"x"), value, "application/xml")):
            yield tried.client.ask(method, path, data={name: file}, content_type=kind)


@BOTH
def test_a_refused_text_is_named_with_its_character(tried: TriedApi) -> None:
    answer = tried.client.get("cases?state=a%00b")
    assert tried.client.problem(answer) == (400, "GW110")
    assert (answer.json["location"], answer.json["detail"]) == (
        "state",
        "the character U+0000 cannot be stored",
    )
    answer = tried.client.post("webhooks/hook/replay", json={"after": "a\x00b"})
    assert (answer.status_code, answer.json["location"]) == (400, "after")


#: Head of a part of a form, and the place that the refusal names.
PARTS = {
    "a file without a name of its field": (b'form-data; filename="x"', b"", None),
    "a field without a name": (b"form-data", b"", None),
    "NUL in a media type": (
        b'form-data; name="attachments"; filename="x"',
        b"Content-Type: text/x\x00ml\r\n",
        "Content-Type",
    ),
    "NUL in an escaped file name": (
        b"form-data; name=\"attachments\"; filename*=utf-8''a%00b",
        b"",
        "filename",
    ),
}


@BOTH
@pytest.mark.parametrize("kind_of_part", PARTS)
def test_a_part_that_nobody_can_store_is_refused(tried: TriedApi, kind_of_part: str) -> None:
    disposition, more, place = PARTS[kind_of_part]
    submission = etree.tostring(tried.story.submission())
    body = (
        b'--B\r\nContent-Disposition: form-data; name="submission"; filename="s"\r\n\r\n'
        + submission
        + b"\r\n--B\r\nContent-Disposition: "
        + disposition
        + b"\r\n"
        + more
        + b"\r\nx\r\n--B--\r\n"
    )
    answer = tried.client.post("submissions", data=body, content_type="multipart/form-data; boundary=B")
    assert (answer.status_code, answer.json.get("location")) == (400, place), answer.text


@pytest.mark.long
@BOTH
def test_a_cursor_names_a_row_that_can_be(tried: TriedApi) -> None:
    cursors = [
        (method, path, name)
        for method, path, operation in list_operations()
        for name in list_parameters(operation, "query")
        if name in ("cursor", "after")
    ]
    assert len(cursors) >= 2
    for method, path, name in cursors:
        for kind in ("case", "event", "message"):
            for number in ("9" * 18, *NUMBERS):
                cursor = base64.urlsafe_b64encode(f"{kind}:{number}".encode()).decode().rstrip("=")
                answer = tried.client.ask(method, f"{tried.fill(path)}?{name}={cursor}")
                tried.expect(answer, number, method, path, name)
    assert tried.wrong == []


@BOTH
def test_every_claim_and_header_of_an_assertion_is_read_by_one_reader(api: Api) -> None:
    algorithm, key = make_key(signer_named("broker1"))
    client = api.visit()
    claims = api.assertion("broker1").split(".")[1]
    usual: dict[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=="))
    header = {"alg": algorithm, "kid": signer_named("broker1").certificate.sha256}

    def ask(claims: dict[str, Any]) -> TestResponse:
        octets = json.dumps(claims).encode()
        return client.get_token(jws.serialize_compact(header, octets, key, algorithms=[algorithm]))

    assert ask(usual).status_code == 200
    for value in (NUL, SURROGATE, LONG[:1_500], *NUMBERS):
        for name in ("alg", "typ", "kid", "x5t#S256", "anything", value):
            forged = ".".join((encode(header | {name: value}), encode(usual), "AAAA"))
            assert client.get_token(forged).status_code in (400, 401), (name, value)
        for name in ("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "anything", value):
            for each in (value, [value], {"a": [value]}, float(value) if value.isdigit() else {value: 1}):
                answer = ask(usual | {"jti": str(uuid.uuid4()), name: each})
                is_taken = answer.status_code == 200 and value not in (NUL, SURROGATE)
                assert is_taken or answer.status_code in (400, 401), (name, value, answer.text)


def encode(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
