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
from functools import cached_property
from pathlib import Path
from typing import Any

from lxml import etree
from sqlalchemy import Engine

from gateway.client import (
    HttpPoster,
    Membership,
    SealedSubmission,
    read_membership,
    seal_submission,
    sign_submission,
)
from gateway.store import make_engine, read_transaction, state_counts
from gateway_conformance.verbs.demo_stage import Cast, Stage, read_cast
from tests.load.case_price import (
    StatementCounts,
    count_statements,
    hub_process,
    list_processes,
    measure_idle_hub,
    name_figures,
    price_statements,
    read_used,
    share_cpu,
)
from tests.load.stopwatch import say


class CaseStage(Stage):
    """The stage of the demo, with its database where the measurement wants it."""

    def __init__(self, home: Path, cast: Cast, *, database_url: str, workers: int = 1) -> None:
        super().__init__(home, cast)
        self._database_url = database_url
        self._workers = workers

    @cached_property
    def engine(self) -> Engine:
        """The hub's database. To make an engine for each look would take a part of what is measured."""
        return make_engine(self.settings().database.url)

    def close(self) -> None:
        """End everything that was started."""
        if "engine" in self.__dict__:
            self.engine.dispose()
        super().close()

    def _format_settings_file(self) -> str:
        wanted = f'[database]\nurl = "{self._database_url}"\n' if self._database_url else ""
        text = super()._format_settings_file()
        return text.replace("[delivery]\n", f"[delivery]\nprocesses = {self._workers}\n") + wanted


_SENDERS = 2
_WARM_UP = 5
_AT_MOST = 300.0


def measure(
    folder: Path,
    cases: int,
    *,
    counted: int = 5,
    database: str = "",
    hub_key: str | None = None,
    workers: int = 1,
) -> Mapping[str, Any]:
    """Return ``cases_per_s`` over so many cases, filed as fast as the hub takes them, and what one costs.

    The statements are counted before, case after case; while the cases are timed nothing counts.
    `hub_key` is the kind of the hub's key; None: that of the demo. `workers` processes deliver.
    """
    cast = make_quick_cast(_give_hub_key(read_cast(), hub_key))
    stage = CaseStage(folder, cast, database_url=database, workers=workers)
    try:
        stage.build()
        with count_statements(folder / "counts") as counts:
            stage.start()
        member = read_membership(stage.get_partner_folder("broker"), "broker")
        prices = _count(stage, counts, member, counted)
        first = _WARM_UP + counted
        say(f"cases: signing {cases} submissions")
        filed = [make_submission(stage, member, number) for number in range(first, cases + first)]
        say("cases: filing")
        idle = measure_idle_hub(stage)
        before = read_used(stage, stage.engine)
        began = time.monotonic()
        file_submissions(stage, filed)
        taken = time.monotonic() - began
        wait_until_closed(stage, cases + first)
        seconds = time.monotonic() - began
        used = read_used(stage, stage.engine).price(before, cases)
        shares = share_cpu(used, idle, seconds / cases)
        outcomes = _count_cases(stage)
    finally:
        stage.close()
    price = f"{used['case_cpu_ms']:.0f} ms and {prices['case_statements']:.0f} statements each"
    say(f"cases: {cases / seconds:.1f}/s, {price}")
    timed = {"cases_per_s": cases / seconds, "cases": cases, "cases_taken_s": taken, "case_states": outcomes}
    return timed | used | shares | prices


def _count(stage: CaseStage, counts: StatementCounts, member: Membership, cases: int) -> Mapping[str, Any]:
    """File some cases, each after the end of the one before, and return the statements of one."""
    file_submissions(stage, [make_submission(stage, member, number) for number in range(_WARM_UP)])
    wait_until_closed(stage, _WARM_UP)
    say(f"cases: counting the statements of {cases}")
    hub, partners = list_processes(hub_process(stage)), set[int]()
    for player in stage.players:
        partners |= list_processes(player.process.pid) - hub
    before = counts.read(hub), counts.read(partners)
    for number in range(_WARM_UP, _WARM_UP + cases):
        file_submissions(stage, [make_submission(stage, member, number)])
        wait_until_closed(stage, number + 1)
    after = counts.read(hub), counts.read(partners)
    counts.end()
    return name_figures(
        *(price_statements(one - other, cases) for one, other in zip(after, before, strict=True))
    )


def make_quick_cast(cast: Cast) -> Cast:
    """Let every agency decide as soon as it can: two in their answer, one by calling back."""
    plans = {"later": {"behaviour": "later", "delay": 0.05}}
    at_once = {"behaviour": "immediate"}
    agencies = (one | {"plan": plans.get(one["plan"]["behaviour"], at_once)} for one in cast.agencies)
    return replace(cast, agencies=tuple(agencies))


def _give_hub_key(cast: Cast, kind: str | None) -> Cast:
    """Return the cast with this kind of key for the hub; None: as it is."""
    if kind is None:
        return cast
    return replace(
        cast, parties=tuple(one | {"key": kind} if one["role"] == "hub" else one for one in cast.parties)
    )


def make_submission(stage: Stage, member: Membership, number: int) -> SealedSubmission:
    """Return a submission of this number, signed and sealed for the hub."""
    root = etree.fromstring(stage.cast.sample)
    for element in root.iter("{*}Reference", "{*}FunctionalReferenceID"):
        element.text = f"LOAD-{number:06d}"
    signed = sign_submission(etree.tostring(root), member)
    return seal_submission(signed, dict(stage.cast.attachments), member, f"{stage.hub_url}/msh/ebms2")


def file_submissions(stage: Stage, filed: list[SealedSubmission]) -> None:
    """Send submissions, each answered by a receipt."""

    def send(part: list[SealedSubmission]) -> None:
        poster = HttpPoster(f"{stage.hub_url}/msh/ebms2", 60)
        for one in part:
            answer = poster.post(one.http_headers, one.body_octets)
            assert answer.status == 200, answer
        poster.close()

    with ThreadPoolExecutor(_SENDERS) as pool:
        list(pool.map(send, [filed[number::_SENDERS] for number in range(_SENDERS)]))


def _count_cases(stage: CaseStage) -> dict[str, int]:
    with read_transaction(stage.engine) as conn:
        counted = state_counts.count_states(conn)["gateway_cases"]
    return {" ".join(value for _, value in labels): int(count) for labels, count in counted.items()}


def wait_until_closed(stage: CaseStage, cases: int) -> None:
    """Return when so many cases are closed and approved; raise AssertionError after minutes."""
    end = time.monotonic() + _AT_MOST
    while _count_cases(stage).get("CLOSED APPROVED", 0) < cases:
        stage.check_alive()
        if time.monotonic() > end:
            raise AssertionError(f"after {_AT_MOST:.0f} s the cases are {_count_cases(stage)}")
        time.sleep(0.1)
