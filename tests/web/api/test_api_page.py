"""Each example of the API's page is executed in its order, and answered as the page says."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from standardwebhooks import Webhook

from gateway.config import Settings
from gateway.pki import encode_key_pem
from gateway.wire import serialize_element
from tests.kit.api import Api, Client
from tests.kit.house import signer_named
from tests.kit.paths import MANUAL
from tests.kit.story import Story
from tests.web.api.test_cases import file

TEXT = (MANUAL / "api.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = FENCE.findall(TEXT)


def list_examples() -> Iterator[tuple[str, Any]]:
    """Yield each request of the page with the answer below it, None where none is shown."""
    for number, (kind, content) in enumerate(BLOCKS):
        if kind == "http":
            following = BLOCKS[number + 1 : number + 2]
            shown = following and following[0][0] == "json" and following[0][1]
            yield content, json.loads(shown) if shown else None


def ask(client: Client, example: str, known: dict[str, str]) -> Any:
    head, _, body = example.partition("\n\n")
    line, *fields = head.splitlines()
    method, path = line.split(" ")
    headers = dict(one.split(": ", 1) for one in fields)
    texts = [path, body.strip(), *headers.values()]
    for name, value in known.items():
        texts = [one.replace(name, value) for one in texts]
    path, body, *values = texts
    return client.ask(
        method, path, data=body.encode() or None, headers=dict(zip(headers, values, strict=True))
    )


def compare(shown: Any, told: Any, place: str) -> None:
    """Fail unless the answer has what the page shows; … stands for any value."""
    if shown == "…":
        assert told not in (None, ""), place
    elif isinstance(shown, dict):
        assert set(shown) <= set(told), f"{place}: {sorted(set(shown) - set(told))} is not there"
        for name, one in shown.items():
            compare(one, told[name], f"{place}/{name}")
    elif isinstance(shown, list):
        assert len(told) >= len(shown), place
        for number, one in enumerate(shown):
            compare(one, told[number], f"{place}/{number}")
    else:
        assert told == shown, place


@pytest.fixture
def api(engine: Engine, tmp_path: Path) -> Api:
    story = Story(engine, customs=False)
    hosts = {"broker1": ["hooks.broker.example"]}
    made = Api(story.house.hub, api={"webhook_hosts": hosts, "webhook_key": tmp_path / "webhook.key"})
    made.story = story  # type: ignore[attr-defined]
    return made


@pytest.mark.long
def test_every_example_of_the_page_is_answered_as_it_says(api: Api) -> None:
    story: Story = api.story  # type: ignore[attr-defined]
    client = api.visit()
    known = {"ASSERTION": api.assertion("broker1"), "TOKEN": "", "NUMBER": "", "WEBHOOK": ""}
    content = serialize_element(story.submission())
    for example, shown in list_examples():
        if "SUBMISSION" in example:
            answer = file(api.client("broker1"), story, "order-2026-000123", content=content)
        else:
            answer = ask(client, example, known)
        assert answer.status_code < 300 or "SW260000009X" in example, f"{example}\n{answer.text}"
        if shown is not None:
            compare(shown, answer.json, example.splitlines()[0])
        told = answer.json if answer.mimetype == "application/json" else {}
        known |= {"TOKEN": told["access_token"]} if "access_token" in told else {}
        known |= {"NUMBER": told["case"]} if "case" in told else {}
        known |= {"WEBHOOK": told["id"]} if "secret" in told else {}
        if "SUBMISSION" in example:
            for _ in range(2):
                story.tick()
            story.decide_all()
            for _ in range(2):
                story.tick()
    assert all(known.values())


def test_the_assertion_of_the_page_is_accepted(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story: Story = api.story  # type: ignore[attr-defined]
    signer = signer_named("broker1")
    (tmp_path / "broker1.key.pem").write_bytes(encode_key_pem(signer.key))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: story.clock().timestamp())
    names: dict[str, Any] = {"KID": signer.certificate.sha256}
    program = next(content for kind, content in BLOCKS if kind == "python" and "jwt.encode" in content)
    exec(compile(program, "api.md", "exec"), names)
    assert api.visit().get_token(names["assertion"]).status_code == 200


def test_the_settings_of_the_page_are_accepted() -> None:
    shown = next(content for kind, content in BLOCKS if kind == "toml")
    assert Settings(**tomllib.loads(shown)).api.enabled


def test_the_verification_of_the_page_holds() -> None:
    secret, body = "whsec_" + "QUJD" * 8, '{"type": "case.decided"}'
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", now, body),
    }
    names: dict[str, Any] = {"SECRET": secret, "BODY": body, "HEADERS": headers}
    program = next(content for kind, content in BLOCKS if kind == "python" and "Webhook" in content)
    exec(compile(program, "api.md", "exec"), names)
    assert names["event"] == {"type": "case.decided"}
