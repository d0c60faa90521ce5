"""The API in process: its application over a hub, and clients whose every answer is checked.

Each answer that any test gets is compared with the OpenAPI document: its status, its media type,
its headers and its JSON must be declared there.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from werkzeug.test import TestResponse

from gateway.config import Settings
from gateway.hub import Hub
from gateway.pki import KeySigner
from gateway.web.api import ApiServices, build_api, build_api_services
from gateway.web.api.api_application import OPERATIONS
from gateway.web.api.api_operations import PROBLEM_TYPE
from gateway.web.api.openapi_document import make_openapi_document
from gateway.web.server import CERTIFICATE_KEY
from tests.kit.house import signer_named

BASE = "/api/v1"
#: Marks a test of the API that runs on both databases.
BOTH = pytest.mark.parametrize(
    "kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.night)], indirect=True
)
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@cache
def document() -> dict[str, Any]:
    return make_openapi_document(OPERATIONS, "http://localhost:8082/api/v1")


@cache
def registry() -> Registry[Any]:
    return Registry().with_resource("urn:api", Resource.from_contents(document(), DRAFT202012))


@cache
def validator(pointer: str) -> Draft202012Validator:
    """Return the validator of the schema at a JSON pointer of the document."""
    return Draft202012Validator(
        {"$ref": f"urn:api#{pointer}"}, registry=registry(), format_checker=FormatChecker()
    )


def escape(word: str) -> str:
    return word.replace("~", "~0").replace("/", "~1")


def find_path(path: str) -> tuple[str, dict[str, str]] | None:
    """Return the path of the document that a request met."""
    wanted = path.removeprefix(BASE)
    for one in sorted(document()["paths"], key=lambda text: -len(re.sub(r"\{\w+\}", "", text))):
        found = match(one, wanted)
        if found is not None:
            return one, found
    return None


def match(template: str, path: str) -> dict[str, str] | None:
    pattern = re.sub(
        r"\{(\w+)\}", lambda one: f"(?P<{one[1]}>{'.+' if one[1] == 'id' else '[^/]+'})", template
    )
    found = re.fullmatch(pattern, path)
    return found.groupdict() if found else None


def check_answer(method: str, path: str, answer: TestResponse) -> None:
    """Fail unless the answer is as the document declares it."""
    found = find_path(path)
    operation = document()["paths"].get(found[0], {}).get(method.lower()) if found else None
    if operation is None:
        if path != f"{BASE}/openapi.json":
            assert answer.status_code in (404, 405), answer.text
            check_json(answer, "/components/schemas/ProblemDetails")
        return
    assert found is not None
    told = operation["responses"]
    status = str(answer.status_code)
    assert status in told, f"{method} {path}: status {status} is not declared: {answer.text[:300]}"
    content = told[status].get("content")
    for name in told[status].get("headers", {}):
        assert name in answer.headers, f"{method} {path} {status} has no header {name}"
    if content is None:
        assert not answer.data
        return
    kind = answer.mimetype
    assert kind in content or "*/*" in content, f"{method} {path} {status}: {kind} is not declared"
    if kind.endswith("json"):
        place = f"/paths/{escape(found[0])}/{method.lower()}/responses/{status}/content/{escape(kind)}/schema"
        check_json(answer, place)


def check_json(answer: TestResponse, place: str) -> None:
    errors = sorted(validator(place).iter_errors(json.loads(answer.data)), key=str)
    assert not errors, f"{place}: {errors[0].message} at {list(errors[0].absolute_path)}"


class Api:
    """The API of a hub; `client` gives one of a party."""

    def __init__(self, hub: Hub, /, **sections: Any) -> None:
        self.services = build_api_services(hub, Settings(**sections))
        self.application = build_api(self.services)

    def visit(self, **more: Any) -> Client:
        """Return a client without credentials."""
        return Client(self.application.test_client(), **more)

    def assertion(self, party: str, signer: KeySigner | None = None, **changes: Any) -> str:
        """Return a client assertion as the software of a party makes it."""
        return make_assertion(self.services, party, signer or signer_named(party), **changes)

    def client(self, party: str, signer: KeySigner | None = None) -> Client:
        """Return a client with an access token of a party."""
        stranger = self.visit()
        answer = stranger.get_token(self.assertion(party, signer))
        assert answer.status_code == 200, answer.text
        return self.visit(token=answer.json["access_token"])


def make_key(signer: KeySigner) -> tuple[str, Any]:
    """Return algorithm and private key of a signer as joserfc takes them."""
    key: Any = signer.key
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if isinstance(key, EllipticCurvePrivateKey):
        return "ES256", ECKey.import_key(pem)
    if isinstance(key, Ed25519PrivateKey):
        return "Ed25519", OKPKey.import_key(pem)
    return "PS256", RSAKey.import_key(pem)


def make_assertion(services: ApiServices, party: str, signer: KeySigner, **changes: Any) -> str:
    now = services.clock()
    algorithm, key = make_key(signer)
    header = {"alg": algorithm, "kid": signer.certificate.sha256} | changes.pop("header", {})
    claims = {
        "iss": party,
        "sub": party,
        "aud": f"{services.public_url}/token",
        "exp": int((now + timedelta(minutes=2)).timestamp()),
        "iat": int(now.timestamp()),
        "jti": str(uuid.uuid4()),
    } | changes
    header = {name: value for name, value in header.items() if value is not None}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(header, claims, key, algorithms=[header["alg"]])


@dataclass
class Client:
    """Software of a party: every answer it gets is checked against the OpenAPI document."""

    http: FlaskClient
    token: str = ""
    certificate: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **more: Any) -> TestResponse:
        headers = dict(self.headers) | more.pop("headers", {})
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        environ = {} if self.certificate is None else {CERTIFICATE_KEY: self.certificate}
        place = path if path.startswith("/") else f"{BASE}/{path}"
        answer = self.http.open(place, method=method, headers=headers, environ_overrides=environ, **more)
        check_answer(method, place.partition("?")[0], answer)
        return answer

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> TestResponse:
        return self.ask("POST", path, **more)

    def get_token(self, assertion: str, **changes: str) -> TestResponse:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        } | changes
        return self.post("token", data=form)

    def problem(self, answer: TestResponse) -> tuple[int, str]:
        """Return status and id of a problem."""
        assert answer.mimetype == PROBLEM_TYPE, answer.text
        return answer.status_code, answer.json["id"]

    def refusal(self, path: str, **more: Any) -> tuple[int, str]:
        return self.problem(self.get(path, **more))
