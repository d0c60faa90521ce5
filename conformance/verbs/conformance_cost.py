"""``gateway conformance cost``: the cost of hostile messages for a hub before it knows their sender."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.home_folder import read_home_settings
from gateway.cli.result_output import print_json, show_progress
from gateway.cli.shared_options import json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.web import build_application
from gateway_conformance.hostile import (
    SHAPES,
    SIZES,
    AttackCase,
    AttackerKit,
    CaseRequest,
    CostLimit,
    HttpRequest,
    RequestCost,
    ServeRequest,
    WorstCaseShape,
    WsgiTarget,
    collect_hostile_requests,
    find_worst_cases,
    measure_costs,
    read_attacker_kit,
    select_cases,
)
from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home

_COST_LIMIT: Final = CostLimit()
_EXTREMES: Final = "worst"
_AT_ONCE: Final = 25


@verb("conformance cost")
@click.option(
    "--only", metavar="GLOB", help="the cases whose id matches; 'worst.*' for the search for the worst case"
)
@json_option()
@click.option("--verbose", is_flag=True, help="report each measurement on standard error")
def measure_message_costs(arguments: Arguments) -> int:
    """Measure all cases and the worst-case search, and print the table; return 1 beyond the limit."""
    if not Path("/proc/self/clear_refs").exists():
        raise GatewayError(MISUSE, "memory is measured as Linux counts it", "/proc")
    with tempfile.TemporaryDirectory(prefix="gateway-cost-") as folder:
        home = Path(folder)
        invite_suite(make_suite_home(home), home / "partner")
        costs = []
        with show_progress("measuring") as bar:
            for cost in measure_costs(
                _list_request_makers(home, arguments.only), partial(_start_measured_hub, home)
            ):
                costs.append(cost)
                bar.change_title(f"measuring {cost.id[:40]}")
                if arguments.verbose:
                    bar.print_line(_format_cost_line(cost.id, cost), sys.stderr)
    if not costs:
        raise GatewayError(MISUSE, f"no case id matches {str(arguments.only)[:80]!r}", "--only")
    report = _make_cost_report(costs)
    if arguments.json:
        print_json(report)
    else:
        print("\n".join(_format_cost_table(costs)))
    return 0 if report["holds"] else 1


def _open_cost_opponents(home: Path) -> tuple[AttackerKit, WsgiTarget]:
    attacker_kit = read_attacker_kit(home / "partner")
    return attacker_kit, WsgiTarget(build_application(read_home_settings(home)), attacker_kit.faces)


def _start_measured_hub(home: Path) -> tuple[ServeRequest, list[HttpRequest]]:
    attacker_kit, target = _open_cost_opponents(home)
    spoilt = [
        attacker_kit.build_message(tampered=lambda data: data.replace(b"Store", b"Stare")),
        attacker_kit.build_call(signed=False),
    ]
    return target.send, [
        attacker_kit.build_message(),
        attacker_kit.build_call(),
        *spoilt,
        attacker_kit.build_message(),
        attacker_kit.build_call(),
    ]


def _list_request_makers(home: Path, only: str | None) -> Iterator[Callable[[], list[CaseRequest]]]:
    """Yield a function for the requests of each batch of cases, then of each worst-case shape."""
    cases = [case for case in select_cases(only) if not case.feature]
    for first in range(0, len(cases), _AT_ONCE):
        yield partial(_play_case_batch, home, cases[first : first + _AT_ONCE])
    for shape in SHAPES:
        if only is None or fnmatchcase(f"{_EXTREMES}.{shape.name}", only):
            yield partial(_play_extreme_shape, home, shape)


def _play_case_batch(home: Path, cases: list[AttackCase]) -> list[CaseRequest]:
    attacker_kit, target = _open_cost_opponents(home)
    return [
        request for case in cases for request in collect_hostile_requests(case, attacker_kit, target.send)
    ]


def _play_extreme_shape(home: Path, shape: WorstCaseShape) -> list[CaseRequest]:
    attacker_kit = read_attacker_kit(home / "partner")
    worst_cases = {
        worst_case.id: worst_case
        for size in SIZES
        for worst_case in find_worst_cases(attacker_kit, shape, size)
    }
    return [
        CaseRequest(f"{_EXTREMES}.{worst_case.id}", worst_case.request) for worst_case in worst_cases.values()
    ]


def _make_cost_report(costs: list[RequestCost]) -> dict[str, Any]:
    cpu, memory = _find_worst_costs(costs)
    return {
        "bound": asdict(_COST_LIMIT),
        "holds": all(map(_COST_LIMIT.allows_cost, costs)),
        "measured": len(costs),
        "worst_cpu": asdict(cpu) | {"ms_per_kb": round(cpu.cpu_ms_per_kb, 3)},
        "worst_memory": asdict(memory),
        "costs": [asdict(cost) for cost in costs],
    }


def _find_worst_costs(costs: list[RequestCost]) -> tuple[RequestCost, RequestCost]:
    return max(costs, key=_COST_LIMIT.compute_cpu_share), max(costs, key=_COST_LIMIT.compute_memory_share)


def _format_cost_table(all_costs: list[RequestCost]) -> list[str]:
    """Return the lines of the table: the worst case of each attack, then the worst of all."""
    attacks: dict[str, list[RequestCost]] = {}
    for cost in all_costs:
        attacks.setdefault(cost.id.partition(" ")[0].partition(".")[0], []).append(cost)
    lines = [f"{'':34}{'octets':>11}{'CPU ms':>10}{'ms/KB':>8}{'memory KB':>11}  of the bound"]
    for attack, costs in attacks.items():
        for quantity, cost in zip(("CPU", "memory"), _find_worst_costs(costs), strict=True):
            lines.append(f"{_format_cost_line(f'{attack} ({len(costs)}), {quantity}', cost)}  {cost.id}")
    cpu, memory = _find_worst_costs(all_costs)
    held = sum(map(_COST_LIMIT.allows_cost, all_costs))
    lines += [
        "",
        f"bound: {_COST_LIMIT.cpu_ms_per_kb:g} ms of CPU for each KB, one at least; "
        f"{_COST_LIMIT.memory // 1024**2} MiB and {_COST_LIMIT.memory_times} times the octets of memory",
        f"worst of CPU:    {cpu.id}: {_COST_LIMIT.compute_cpu_share(cpu):.0%} of the bound",
        f"worst of memory: {memory.id}: {_COST_LIMIT.compute_memory_share(memory):.0%} of the bound",
        f"{held} of {len(all_costs)} requests are within the bound",
    ]
    return lines


def _format_cost_line(label: str, cost: RequestCost) -> str:
    share = f"{_COST_LIMIT.compute_cpu_share(cost):5.0%}{_COST_LIMIT.compute_memory_share(cost):5.0%}"
    return (
        f"{label[:33]:34}{cost.octets:11,}{cost.cpu_ms:10.2f}{cost.cpu_ms_per_kb:8.3f}"
        f"{cost.memory // 1024:11,}  {share}"
    )
