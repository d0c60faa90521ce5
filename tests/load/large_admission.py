"""The process that admits a large case: it has loaded what ``gateway work`` loads, and nothing else.

``python -m tests.load.large_admission HOME`` admits the two newest messages of a home, the older one first,
and prints the seconds and MiB of the newer one. Whoever imports more here measures more than a hub.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.cli.home_folder import read_home_settings
from gateway.delivery import build_worker
from gateway.hub import Hub, admit_submission
from gateway.store import agency_requests, cases, deliveries, messages, read_transaction


def admit(home: Path) -> Mapping[str, Any]:
    """Admit the small case, then the large one; return the seconds and MiB of the large one."""
    hub = _build_working_hub(home)
    with read_transaction(hub.engine) as conn:
        large, small = (int(row.id) for row in messages.list_messages(conn, limit=2))
    admit_submission(hub, small, lambda _conn: None)
    before = _peak_mib()
    started, used = time.perf_counter(), time.process_time()
    admit_submission(hub, large, lambda _conn: None)
    seconds, processor, peak = time.perf_counter() - started, time.process_time() - used, _peak_mib()
    with read_transaction(hub.engine) as conn:
        case = cases.list_cases(conn, limit=1)[0]
        asked = agency_requests.list_by_case(conn, case.id)
        called = [row.destination for row in deliveries.list_by_case(conn, case.id) if row.agent == "soap"]
    hub.close()
    return {
        "large_state": case.state,
        "large_requests": len(asked),
        "large_calls": len(called),
        "large_s": round(seconds, 3),
        "large_cpu_s": round(processor, 3),
        "large_before_mib": before,
        "large_peak_mib": peak,
    }


def _build_working_hub(home: Path) -> Hub:
    """Return the hub of a worker, with all that a worker has prepared before its first delivery."""
    hub: Hub = build_worker(read_home_settings(home))._agents["local"]._hub  # type: ignore[attr-defined]
    return hub


def _peak_mib() -> float:
    """Return the most memory that this process has held so far.

    `ru_maxrss` would count what the process held that started this one.
    """
    held = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert held is not None
    return round(int(held[1]) / 1024, 1)


def main(words: Sequence[str]) -> int:
    """Admit and print."""
    (home,) = words
    print(json.dumps(admit(Path(home))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
