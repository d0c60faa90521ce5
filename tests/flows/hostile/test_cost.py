"""What a message costs is measured, not assumed: where memory goes is seen, and the bound can be missed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from gateway.wire import DEFAULT_LIMITS, prescan_xml, read_multipart_related
from gateway_conformance.hostile import (
    SHAPES,
    Answer,
    AttackCase,
    CaseRequest,
    CostLimit,
    HttpRequest,
    RequestCost,
    collect_hostile_requests,
    find_worst_cases,
)
from gateway_conformance.hostile.exchange import ACCEPTED, Exchange, RawScript, expect_refusal_codes
from tests.flows.hostile.sample_kit import SAMPLE_KIT
from tests.kit.paths import ROOT

BENCH = SAMPLE_KIT
MB = 1024 * 1024
#: Measures one request that takes 40 MB and one that takes none, in a process without threads of others.
_MEASURED = """
import json
from gateway_conformance.hostile.exchange import (Answer, HttpRequest)
from gateway_conformance.hostile.request_cost import CaseRequest, measure_costs

def serve(post):
    if post.body == b"greedy":
        bytearray(40 << 20)[::4096] = b"x" * 10240
    return Answer(200, {}, b"")

posts = [CaseRequest(name, HttpRequest("ebms2", {}, name.encode())) for name in ("frugal", "greedy")]
found = list(measure_costs([lambda: posts], lambda: (serve, [HttpRequest("ebms2", {}, b"warm")])))
print(json.dumps([[one.id, one.octets, one.memory, one.cpu_ms] for one in found]))
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_memory_that_is_taken_is_seen_and_no_other() -> None:
    done = run("-c", _MEASURED)
    assert done.returncode == 0, done.stderr
    (frugal, greedy) = json.loads(done.stdout)
    assert (frugal[0], frugal[1], greedy[0]) == ("frugal", 6, "greedy")
    assert frugal[2] < MB
    assert 39 * MB < greedy[2] < 42 * MB
    assert greedy[3] > frugal[3] >= 0


@pytest.mark.night
def test_the_command_measures_and_names_the_worst() -> None:
    done = run("-m", "gateway", "conformance", "cost", "--only", "DOS-04.prefixes-*", "--json")
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["measured"] == len(report["costs"]) == 4
    assert report["worst_cpu"]["id"].startswith("DOS-04.prefixes-")
    assert all(one["cpu_ms"] > 0 and one["octets"] > 3000 for one in report["costs"])
    assert done.returncode == (0 if report["holds"] else 1)


def test_a_cost_beyond_the_bound_is_found() -> None:
    bound = CostLimit(cpu_ms_per_kb=2, memory=MB, memory_times=20)
    cost = RequestCost("x", 10 * 1024, 20.0, MB + 200 * 1024)
    assert bound.allows_cost(cost)
    assert not bound.allows_cost(replace(cost, cpu_ms=20.1))
    assert not bound.allows_cost(replace(cost, memory=cost.memory + 1))
    # Nothing is smaller than one kilobyte.
    tiny = replace(cost, octets=0, memory=0)
    assert bound.allows_cost(replace(tiny, cpu_ms=2.0))
    assert not bound.allows_cost(replace(tiny, cpu_ms=2.1))


def test_what_is_measured_is_what_must_be_refused() -> None:
    bad = expect_refusal_codes("GW104")
    posts = [HttpRequest("ebms2", {}, content) for content in (b"honest", b"one", b"two")]
    heard: list[Answer] = []

    def play(*steps: Exchange) -> AttackCase:
        def yielding(_: object):  # type: ignore[no-untyped-def]
            for step in steps:
                heard.append((yield step))

        return AttackCase("X-1.y", "x", "ebms2", "x", yielding)

    sent: list[bytes] = []

    def serve(post: HttpRequest) -> Answer:
        sent.append(post.body)
        return Answer(200, {}, b"")

    case = play(Exchange(posts[0], ACCEPTED), Exchange(posts[1], bad), Exchange(posts[2], bad))
    assert collect_hostile_requests(case, BENCH, serve) == [
        CaseRequest("X-1.y", posts[1]),
        CaseRequest("X-1.y", posts[2]),
    ]
    assert sent == [b"honest", b"one", b"two"]
    assert [answer.status for answer in heard] == [200, 200, 200]
    assert collect_hostile_requests(play(Exchange(RawScript("ebms2", ()), bad)), BENCH, serve) == []


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_worst_that_passes_passes_and_more_of_it_does_not(shape) -> None:  # type: ignore[no-untyped-def]
    size = 40 * 1024
    found = list(find_worst_cases(BENCH, shape, size))
    assert len(found) == (1 if shape.whole else 2)
    for one in found:
        assert len(one.request.body) <= size
        prescan_xml(
            read_multipart_related(one.request.headers["Content-Type"], one.request.body).root.content,
            is_envelope=True,
        )


def test_the_search_stops_at_the_limits() -> None:
    (shape,) = [one for one in SHAPES if one.name == "elements"]
    tight = replace(DEFAULT_LIMITS, elements=500)
    for one in find_worst_cases(BENCH, shape, 400 * 1024, tight):
        content = read_multipart_related(one.request.headers["Content-Type"], one.request.body).root.content
        assert 400 < content.count(b"<x:a/>") <= 500
