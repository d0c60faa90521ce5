"""``python -m tests.system.attacked.ending``: a hub gets SIGTERM again and again while a broker sends.

What was acknowledged must be in the database once, with that receipt; a message sent again
must get the same octets; each end must be in order: exit status 0, nobody left behind, and
nothing in the log but what the hub itself has to say.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.load.stopwatch import say
from tests.system.attacked import honest
from tests.system.attacked.hub import Hub

__all__ = ["judged", "main"]

_PATIENCE = 600.0
#: Words of a process that did not end as it should: of Python, of the server's Rust, of the kernel.
_ILL = (b"Traceback", b"panicked", b"Fatal Python error", b"Segmentation")


def main(words: Sequence[str] | None = None) -> int:
    """End a hub under load so many times, print what came of it; 1 when anything was lost or not in order."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.attacked.ending", description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="how often the hub is told to end")
    parser.add_argument("--every", type=float, default=4.0, help="seconds that it is let work before")
    parser.add_argument("--rate", type=float, default=40.0, help="messages a second")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="gateway-ending-") as place:
        report = _played(arguments, Path(place))
    print(json.dumps(report, indent=2 if arguments.json else None))
    return 0 if report["good"] else 1


def _played(arguments: argparse.Namespace, place: Path) -> dict[str, Any]:
    home, partner, frames, port = place / "home", place / "partner", place / "frames", find_free_port()
    settings = make_suite_home(home, f"[http]\nport = {port}\nprocesses = 2\n")
    invite_suite(settings, partner)
    number = int(arguments.times * arguments.every * arguments.rate)
    say(f"signing {number} messages")
    honest.sign(partner, frames, number)
    hub = _started(home, port)
    try:
        start = time.monotonic() + 1.0
        words = [str(frames), str(port), str(arguments.rate), str(start), str(_PATIENCE)]
        command = [sys.executable, "-m", "tests.system.attacked.broker", *words]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as broker:
            ends = []
            for _ in range(arguments.times):
                time.sleep(arguments.every)
                ends.append(_ended(hub))
                say(f"ended with {ends[-1]['status']}")
                hub = _started(home, port)
            sent = json.loads(broker.communicate()[0])
        repeated, same = honest.repeat(frames, port, sent["sent"], 40)
        ends.append(_ended(hub))
    finally:
        hub.end()
    return judged(sent, ends, (repeated, same), honest.look(settings.database.url, sent["sent"]))


def _started(home: Path, port: int) -> Hub:
    hub = Hub(home, port)
    hub.wait_until_ready(90)
    return hub


def _ended(hub: Hub) -> dict[str, Any]:
    """End the hub; return its status, how many of its processes were left, and what its log says."""
    before = [pid for pid in hub.processes() if pid != hub.process.pid]
    status = hub.end()
    left = sum(Path(f"/proc/{pid}").exists() for pid in before)
    log = hub.log.read_bytes()
    found = [at for at in (log.find(word) for word in _ILL) if at >= 0]
    ill = log[max(0, min(found) - 300) :][:2000].decode(errors="replace") if found else ""
    return {"status": status, "left": left, "ill": ill}


def judged(
    sent: dict[str, Any], ends: list[dict[str, Any]], repeats: tuple[int, int], kept: dict[str, int]
) -> dict[str, Any]:
    """Return what came of it, and whether that is good."""
    rows = sent["sent"]
    acknowledged = sum(row["answer"] is not None for row in rows)
    report: dict[str, Any] = {
        "sent": len(rows),
        "acknowledged": acknowledged,
        "sent_again": sum(row["tries"] > 1 for row in rows),
        "answers": sent["answers"],
        **kept,
        "repeated": repeats[0],
        "repeated_same_octets": repeats[1],
        "ends": len(ends),
        "ends_not_in_order": [one for one in ends if one["status"] or one["left"] or one["ill"]],
    }
    report["good"] = (
        acknowledged == len(rows) == kept["stored_once"] == kept["stored_with_their_receipt"]
        and repeats[0] == repeats[1] > 0
        and not report["ends_not_in_order"]
    )
    return report


if __name__ == "__main__":
    sys.exit(main())
