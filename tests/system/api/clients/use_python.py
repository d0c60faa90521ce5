"""Uses the client that openapi-generator makes for Python: URL TOKEN FOLDER WRONG-TOKEN KEY FIRST SECOND.

It files the submission FIRST under KEY, again, and then SECOND under the same key; reads the case to its end;
turns all pages; stores the documents in FOLDER; and prints what it saw. Of the gateway it imports nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_client
from hub_client.exceptions import ApiException


def describe_refusal(call: Callable[[], Any]) -> dict[str, Any]:
    """Return status and problem of a call that is refused; `typed` is the id as the client reads it."""
    try:
        call()
    except ApiException as refused:
        typed = getattr(refused.data, "id", None)
        return {"status": refused.status, "id": json.loads(refused.body or "{}").get("id"), "typed": typed}
    return {"status": 200}


def wait_for(ask: Callable[[], Any]) -> Any:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.3)
    raise SystemExit("it did not happen within 90 seconds")


def turn_pages(
    read_page: Callable[[str | None], Any], list_ids: Callable[[Any], list[str]]
) -> list[list[str]]:
    pages: list[list[str]] = []
    cursor = None
    while True:
        page = read_page(cursor)
        pages.append(list_ids(page))
        if not page.next or not pages[-1]:
            return pages
        cursor = page.next


def main(url: str, token: str, folder: str, wrong: str, key: str, first: str, second: str) -> None:
    client = hub_client.ApiClient(hub_client.Configuration(host=url, access_token=token))
    submissions, messages = hub_client.SubmissionsApi(client), hub_client.MessagesApi(client)
    cases, events = hub_client.CasesApi(client), hub_client.EventsApi(client)
    report: dict[str, Any] = {"filed": []}
    for _ in range(2):
        filing = submissions.file_submission(("s.xml", Path(first).read_bytes()), idempotency_key=key)
        report["filed"].append([filing.message_id, filing.new])
    other = ("s.xml", Path(second).read_bytes())
    report["conflict"] = describe_refusal(lambda: submissions.file_submission(other, idempotency_key=key))
    number = wait_for(lambda: messages.get_message(key).case)
    report["state"] = wait_for(lambda: (state := cases.get_case(number).state) == "CLOSED" and state)
    for name, content in {
        "result": cases.get_result(number),
        "bundle": cases.get_evidence_bundle(number),
        "document": messages.get_document(key),
        "receipt": messages.get_receipt(key),
    }.items():
        Path(folder, name).write_bytes(content)
    report["case"] = number
    report["cases"] = turn_pages(
        lambda cursor: cases.list_cases(limit=1, cursor=cursor),
        lambda page: [case.number for case in page.cases],
    )
    report["events"] = turn_pages(
        lambda cursor: events.list_events(limit=2, after=cursor),
        lambda page: [event.id for event in page.events],
    )
    stranger = hub_client.ApiClient(hub_client.Configuration(host=url, access_token=wrong))
    report["absent"] = describe_refusal(lambda: cases.get_case("SW260000009X"))
    report["stranger"] = describe_refusal(lambda: hub_client.CasesApi(stranger).get_case(number))
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
