"""Complete cases a second: broker, three agencies, customs and the hub as processes on one machine.

A case is complete when its result has been acknowledged and customs has been told: every
message of it is signed, sent over HTTP, verified and stored on both sides.  The partners
verify and validate as ever; what they cost is part of the figure.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.cli.demo_stage import Cast, Stage, read_cast
from gateway.conformance.partners.broker_client import SealedSubmission, seal_submission, sign_submission
from gateway.conformance.partners.http_transport import HttpPoster
from gateway.conformance.partners.partner_identity import Membership, read_membership
from gateway.store import state_counts
from gateway.store.engine import make_engine, read_transaction
from tests.load.stopwatch import say

_SENDERS = 2
_WARM_UP = 5
_AT_MOST = 300.0


def measure(folder: Path, cases: int) -> Mapping[str, Any]:
    """Return ``cases_per_s`` over so many cases, filed as fast as the hub takes them."""
    stage = Stage(folder, _quick(read_cast()))
    try:
        stage.build()
        stage.start()
        member = read_membership(stage.partner("broker"), "broker")
        say(f"cases: signing {cases} submissions")
        _file(stage, [_submission(stage, member, number) for number in range(_WARM_UP)])
        _wait(stage, _WARM_UP)
        filed = [_submission(stage, member, number) for number in range(_WARM_UP, cases + _WARM_UP)]
        say("cases: filing")
        began = time.monotonic()
        _file(stage, filed)
        taken = time.monotonic() - began
        _wait(stage, cases + _WARM_UP)
        seconds = time.monotonic() - began
        outcomes = _cases(stage)
    finally:
        stage.close()
    say(f"cases: {cases / seconds:.1f}/s")
    return {"cases_per_s": cases / seconds, "cases": cases, "cases_taken_s": taken, "case_states": outcomes}


def _quick(cast: Cast) -> Cast:
    """Let every agency decide as soon as it can: two in their answer, one by calling back."""
    plans = {"later": {"behaviour": "later", "delay": 0.05}}
    at_once = {"behaviour": "immediate"}
    agencies = (one | {"plan": plans.get(one["plan"]["behaviour"], at_once)} for one in cast.agencies)
    return replace(cast, agencies=tuple(agencies))


def _submission(stage: Stage, member: Membership, number: int) -> SealedSubmission:
    root = etree.fromstring(stage.cast.sample)
    for element in root.iter("{*}Reference", "{*}FunctionalReferenceID"):
        element.text = f"LOAD-{number:06d}"
    signed = sign_submission(etree.tostring(root), member)
    return seal_submission(signed, dict(stage.cast.attachments), member, f"{stage.hub_url}/msh/ebms2")


def _file(stage: Stage, filed: list[SealedSubmission]) -> None:
    def send(part: list[SealedSubmission]) -> None:
        poster = HttpPoster(f"{stage.hub_url}/msh/ebms2", 60)
        for one in part:
            answer = poster.post(one.http_headers, one.body_octets)
            assert answer.status == 200, answer
        poster.close()

    with ThreadPoolExecutor(_SENDERS) as pool:
        list(pool.map(send, [filed[number::_SENDERS] for number in range(_SENDERS)]))


def _cases(stage: Stage) -> dict[str, int]:
    engine = make_engine(stage.settings().database.url)
    try:
        with read_transaction(engine) as conn:
            counted = state_counts.count_states(conn)["gateway_cases"]
    finally:
        engine.dispose()
    return {" ".join(value for _, value in labels): int(count) for labels, count in counted.items()}


def _wait(stage: Stage, cases: int) -> None:
    end = time.monotonic() + _AT_MOST
    while _cases(stage).get("CLOSED APPROVED", 0) < cases:
        stage.check_alive()
        if time.monotonic() > end:
            raise AssertionError(f"after {_AT_MOST:.0f} s the cases are {_cases(stage)}")
        time.sleep(0.1)
