"""Which answers of HTTP are those of a handler: one table for messages, calls, payments and webhooks."""

from __future__ import annotations

import pytest

from gateway.delivery.attempt_outcome import (
    CALL_ANSWERS,
    MESSAGE_ANSWERS,
    PAYMENT_ANSWERS,
    WEBHOOK_ANSWERS,
    HandlerAnswers,
)
from gateway.delivery.http_answer_reader import HttpAnswer

KINDS = {
    "messages": MESSAGE_ANSWERS,
    "calls": CALL_ANSWERS,
    "payments": PAYMENT_ANSWERS,
    "webhooks": WEBHOOK_ANSWERS,
}
#: Statuses with which proxies, firewalls and servlet containers answer in place of a handler.
PAGES = (301, 400, 401, 403, 404, 405, 407, 409, 410, 411, 413, 415, 422, 431, 451, 500, 501, 502, 505, 510)


def classify(handler: HandlerAnswers, status: int, media_type: str, body: bytes = b"<x/>") -> str:
    headers = {"content-type": media_type} if media_type else {}
    return handler.classify_answer(HttpAnswer(status, headers, body)).value


@pytest.mark.long
@pytest.mark.parametrize("status", PAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_an_intermediary_is_never_final(kind: str, status: int) -> None:
    for media_type in ("text/html", "text/html; charset=utf-8", "TEXT/HTML", "application/xml", ""):
        assert classify(KINDS[kind], status, media_type) == "passing error"


@pytest.mark.parametrize("status", [200, 202, 204, 299])
@pytest.mark.parametrize("kind", KINDS)
def test_a_success_is_one_whatever_it_contains(kind: str, status: int) -> None:
    assert classify(KINDS[kind], status, "text/html") == "success"
    assert classify(KINDS[kind], status, "", b"") == "success"


@pytest.mark.parametrize(
    ("kind", "status", "media_type"),
    [
        ("messages", 400, "text/xml"),
        ("messages", 403, "application/soap+xml; charset=UTF-8"),
        ("messages", 500, 'Multipart/Related; type="text/xml"'),
        ("messages", 599, "text/xml"),
        ("calls", 400, "text/xml"),
        ("calls", 500, "text/xml; charset=utf-8"),
        ("payments", 404, "application/json"),
        ("payments", 409, "application/json; charset=utf-8"),
        ("webhooks", 410, "application/json"),
        ("webhooks", 410, "text/plain"),
    ],
)
def test_the_handler_itself_decides(kind: str, status: int, media_type: str) -> None:
    assert classify(KINDS[kind], status, media_type) == "handler error"
    assert classify(KINDS[kind], 302, media_type) == "passing error"


@pytest.mark.parametrize(
    ("kind", "status", "media_type"),
    [
        ("calls", 500, "application/soap+xml"),
        ("payments", 500, "application/json"),
        ("payments", 401, "application/json"),
        ("payments", 410, "application/json"),
        ("webhooks", 404, "application/json"),
        ("webhooks", 400, "text/plain"),
    ],
)
def test_what_is_neither_said_nor_decided_passes(kind: str, status: int, media_type: str) -> None:
    assert classify(KINDS[kind], status, media_type) == "passing error"


def test_without_content_only_a_webhook_says_that_it_is_gone() -> None:
    found = {kind: classify(handler, 410, "text/xml", b" \r\n") for kind, handler in KINDS.items()}
    assert found == dict.fromkeys(("messages", "calls", "payments"), "passing error") | {
        "webhooks": "handler error"
    }
