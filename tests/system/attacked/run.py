"""Runs hub, broker and attackers, kills and fills the disk meanwhile, and reports what the broker noticed."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home
from tests.kit.disk import Disk, small_disk
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.load.stopwatch import machine, percentile, say
from tests.system.attacked import honest
from tests.system.attacked.hub import Hub, running
from tests.system.attacked.watch import Watch

#: What an event may cost those messages that are due near it: seconds before and after.
_AROUND_KILL = (0.5, 4.0)
_AROUND_FULL = (0.5, 2.0)
#: How long the disk is full each time: seconds at least and at most, and a share of the run between.
#: What is due meanwhile has to wait for room, however good the hub is; twice this share of all
#: messages is below the hundredth that a p99 looks at.  A second is enough for dozens of them.
_SHORTEST_FULL, _LONGEST_FULL, _SHARE_FULL = 1.2, 4.0, 0.004
#: MiB a minute below which the memory of a process that has filled its caches counts as flat.
_FLAT = 1.0
#: So long is a message sent again and again before it counts as lost.
_PATIENCE = 90.0
_REPEATED = 40


@dataclass(frozen=True)
class Event:
    """Something that is done to the hub, at a second of the run."""

    at: float
    what: str


def plan(seconds: float) -> list[Event]:
    """Return what is done to the hub: kills now and then, twice a full disk, once both together."""
    pause = max(3.0, min(20.0, seconds / 4))
    kills = ("kill serving", "kill working")
    events = [Event(2.0 + pause * number, kills[number % 2]) for number in range(int(seconds / pause))]
    long = min(max(_SHORTEST_FULL, _SHARE_FULL * seconds), _LONGEST_FULL)
    for part in (0.45, 0.75):
        begin = seconds * part
        events += [Event(begin, "disk full"), Event(begin + long, "room again")]
        if part > 0.5:
            events.append(Event(begin + long / 2, "kill serving"))
    return sorted((one for one in events if one.at < seconds), key=lambda one: one.at)


class _StuntedProcesses:
    """A disk that is full because no process of the hub may let the database's log grow."""

    def __init__(self, hub: Hub, database: Path) -> None:
        self._hub, self._log = hub, database.with_name(database.name + "-wal")

    def fill(self) -> None:
        self._hub.limit_files(self._log.stat().st_size + 1)

    def empty(self) -> None:
        self._hub.limit_files(-1)


def main(words: Sequence[str] | None = None) -> int:
    """Attack, and print the report; 1 when something acknowledged is missing, or something never was."""
    arguments = _parser().parse_args(words)
    with tempfile.TemporaryDirectory(prefix="gateway-attacked-", dir=arguments.folder) as place:
        report = _attack(arguments, Path(place))
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            print(f"{name:26} {json.dumps(value)}")
    return 0 if report["good"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.system.attacked", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long the broker sends")
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second of the broker")
    parser.add_argument("--attacks", type=float, default=20.0, help="exchanges a second of the corpus")
    parser.add_argument("--slow", type=int, default=100, help="connections that are slow")
    parser.add_argument("--calm", action="store_true", help="attack only: kill nothing, fill nothing")
    parser.add_argument("--folder", help="where the home and its disk are made")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _attack(arguments: argparse.Namespace, place: Path) -> dict[str, Any]:
    home, partner, frames = place / "home", place / "partner", place / "frames"
    number, port = int(arguments.seconds * arguments.rate), find_free_port()
    with ExitStack() as stack:
        size = 192 + int(number * 0.04)
        disk = stack.enter_context(small_disk(place / "disk", size, "ext4"))
        disk = disk or stack.enter_context(small_disk(place / "disk", size))
        database = place / "disk" / "gateway.sqlite3"
        settings = make_suite_home(home, _settings(port, database))
        invite_suite(settings, partner)
        say(f"signing {number} messages")
        honest.sign(partner, frames, number)
        before = machine(place)["load_average"]
        hub = stack.enter_context(running(home, port))
        full: Disk = disk or _StuntedProcesses(hub, database)
        report = _measure(arguments, (hub, full), (frames, partner))
        report["exit_status"] = hub.end()
        report["log_lines"] = len(hub.log.read_bytes().splitlines())
        report["disk"] = "mounted" if disk else "a limit on files"
        report |= honest.look(f"sqlite:///{database}", report["messages"])
        report["machine"] = machine(place) | {"load_before": before}
    return _judged(report)


def _settings(port: int, database: Path) -> str:
    return (
        f'[database]\nurl = "sqlite:///{database}"\nreserve = "8 MiB"\n'
        f'[http]\nport = {port}\nprocesses = 2\n[delivery]\nlease = "10s"\ncrashes = 100\n'
    )


def _measure(
    arguments: argparse.Namespace, opponents: tuple[Hub, Disk], papers: tuple[Path, Path]
) -> dict[str, Any]:
    hub, disk = opponents
    frames, partner = papers
    attackers = {
        "corpus": ["corpus", str(partner), f"http://127.0.0.1:{hub.port}", str(arguments.attacks)],
        "slow": ["slow", str(hub.port), str(arguments.slow)],
    }
    with _processes("tests.system.attacked.attackers", attackers) as attacking:
        for process in attacking.values():
            _await_start(process)
        start = time.monotonic() + 3.0
        watch = Watch(hub, start)
        words = [str(frames), str(hub.port), str(arguments.rate), str(start), str(_PATIENCE)]
        with _processes("tests.system.attacked.broker", {"broker": words}) as sending:
            watch.begin()
            events = [] if arguments.calm else plan(arguments.seconds)
            done = _suffer(hub, disk, events, start)
            sent = json.loads(sending["broker"].communicate()[0])
        told = {name: _ended(process) for name, process in attacking.items()}
    time.sleep(1.0)
    repeated, same = honest.repeat(frames, hub.port, sent["sent"], _REPEATED)
    watch.end()
    rows, memory = sent["sent"], watch.memory_told()
    return {
        "seconds": arguments.seconds,
        "rate": arguments.rate,
        "sent": len(rows),
        "acknowledged": sum(row["answer"] is not None for row in rows),
        "sent_again": sum(row["tries"] > 1 for row in rows),
        "answers": sent["answers"],
        "whole": _times(rows),
        "calm": _times([row for row in rows if not _near(row["due"], done)]),
        "p99_ms_of_each_tenth": [_times(part).get("p99_ms") for part in _tenths(rows, arguments.seconds)],
        "load_average": [round(one, 1) for one in watch.load[::20]],
        "repeated": repeated,
        "repeated_same_octets": same,
        "still_ready": _ready_again(hub),
        "attackers": told,
        "done_to_it": dict(Counter(one.what for one in done)),
        "events": [[round(one.at, 2), one.what] for one in done],
        "ready": watch.ready_told(),
        "memory": memory,
        "memory_flat": _flat(memory, arguments.seconds),
        "messages": rows,
    }


@contextmanager
def _processes(module: str, each: dict[str, list[str]]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    started = {
        name: subprocess.Popen([sys.executable, "-m", module, *words], cwd=ROOT, stdout=subprocess.PIPE)
        for name, words in each.items()
    }
    try:
        yield started
    finally:
        for process in started.values():
            if process.poll() is None:
                process.kill()
                process.wait(60)
            if process.stdout is not None:
                process.stdout.close()


def _await_start(process: subprocess.Popen[bytes]) -> None:
    """Return when an attacker is at work: it reads the whole corpus before."""
    assert process.stdout is not None
    assert process.stdout.readline() == b"at work\n"


def _ended(process: subprocess.Popen[bytes]) -> Any:
    process.terminate()
    return json.loads(process.communicate(timeout=60)[0])


def _suffer(hub: Hub, disk: Disk, events: list[Event], start: float) -> list[Event]:
    """Do to the hub what is planned; return what was done, at the second at which it was done."""
    done = []
    for event in events:
        time.sleep(max(0.0, start + event.at - time.monotonic()))
        if event.what == "disk full":
            disk.fill()
        elif event.what == "room again":
            disk.empty()
        elif not hub.kill(event.what.removeprefix("kill ")):
            continue
        done.append(Event(time.monotonic() - start, event.what))
        say(f"{done[-1].at:6.1f} s: {event.what}")
    return done


def _near(due: float, events: Sequence[Event]) -> bool:
    """Tell whether a message was due while the hub was being killed, or its disk full."""
    full: float | None = None
    for event in events:
        if event.what == "disk full":
            full = event.at
        elif event.what == "room again" and full is not None:
            if full - _AROUND_FULL[0] <= due <= event.at + _AROUND_FULL[1]:
                return True
        elif event.what == "kill serving" and -_AROUND_KILL[0] <= due - event.at <= _AROUND_KILL[1]:
            return True
    return False


def _flat(memory: list[dict[str, Any]], seconds: float) -> bool | None:
    """Tell whether no process that lived through most of the run grew in its last half; None: too short."""
    slopes = [
        one["mib_per_minute_in_its_last_half"]
        for one in memory
        if one["seconds"] >= seconds * 0.8 and one["mib_per_minute_in_its_last_half"] is not None
    ]
    return all(one < _FLAT for one in slopes) if slopes else None


def _tenths(rows: list[dict[str, Any]], seconds: float) -> list[list[dict[str, Any]]]:
    parts: list[list[dict[str, Any]]] = [[] for _ in range(10)]
    for row in rows:
        parts[min(9, int(row["due"] / seconds * 10))].append(row)
    return parts


def _times(rows: list[dict[str, Any]]) -> dict[str, float | int]:
    took = [row["took"] * 1000 for row in rows if row["took"] is not None]
    if not took:
        return {"messages": 0}
    shares = {f"p{one}_ms": round(percentile(took, one), 1) for one in (50, 90, 99)}
    return {"messages": len(took), **shares, "worst_ms": round(max(took), 1)}


def _ready_again(hub: Hub) -> bool:
    """Say whether the hub comes to be ready by itself, within ten seconds of its last trouble."""
    for _ in range(50):
        if hub.ready() == 200:
            return True
        time.sleep(0.2)
    return False


def _judged(report: dict[str, Any]) -> dict[str, Any]:
    """Add whether all is well, and leave out the single messages; what was refused is shown."""
    rows = report.pop("messages")
    number = report["acknowledged"]
    report["refused"] = [row["refused"] for row in rows if "refused" in row][:3]
    report["good"] = (
        number == report["sent"] == report["stored_once"] == report["stored_with_their_receipt"]
        and report["repeated"] == report["repeated_same_octets"] > 0
        and report["still_ready"]
        and not report["attackers"]["corpus"]["got_through"]
        and report["exit_status"] == 0
    )
    return report
