"""What the applicant of the newest case reads: on its page in the console, and by the API."""

from __future__ import annotations

import json

from lxml import etree

from gateway.store import cases, read_transaction
from tests.kit.api import Api
from tests.kit.console import Console

__all__ = ["read_applicant_words"]


def read_applicant_words(console: Console) -> tuple[str, str]:
    """Return the words of the page of the case, and the answers of the API about it, both as text."""
    hub = console.services.hub
    with read_transaction(hub.engine) as conn:
        number = cases.list_cases(conn, limit=1)[0].number
    console.add_account("applicant", ("party", "broker1"), "viewer")
    page = etree.HTML(console.enter("applicant").get(f"/console/cases/{number}").data)
    client = Api(hub).client("broker1")
    answers = [
        client.get(f"/api/v1/cases/{number}{place}").json for place in ("", "/applications", "/notices")
    ]
    return "".join(page.itertext()), json.dumps(answers, ensure_ascii=False).replace("\\n", "\n")
