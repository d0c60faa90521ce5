"""How long requests to the API take beside messages: `python -m tests.load.api_requests --json`.

In process, on a database in memory of the machine, without HTTP: what the code itself costs. The
file system and the network add the same to both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gateway.message_model import Payload
from gateway.store import make_engine, migrate_schema
from gateway.wire import serialize_element
from tests.kit.api import Api
from tests.kit.story import LABEL, Story

_ROUNDS = 150


def measure(act: Callable[[int], object], rounds: int = _ROUNDS) -> dict[str, float]:
    """Return the processor time of an act at the median, and its duration, in milliseconds.

    Ten rounds of warming up come first. The processor time does not depend on what else runs here.
    """
    for number in range(10):
        act(-number - 1)
    worked, spent = [], []
    for number in range(rounds):
        begun, busy = time.perf_counter(), time.thread_time()
        act(number)
        worked.append((time.thread_time() - busy) * 1000)
        spent.append((time.perf_counter() - begun) * 1000)
    spent.sort()
    return {
        "cpu_ms": round(statistics.median(worked), 2),
        "p50_ms": round(statistics.median(spent), 2),
        "p99_ms": round(spent[int(rounds * 0.99)], 2),
    }


def run_benchmark(folder: Path) -> dict[str, dict[str, float]]:
    """Return the figures of each kind of request."""
    engine = make_engine(f"sqlite:///{folder}/gateway.sqlite3")
    migrate_schema(engine)
    story = Story(engine, customs=False)
    api = Api(story.house.hub)
    token = api.client("broker1").token
    client = api.application.test_client()
    headers = {"Authorization": f"Bearer {token}"}
    content = serialize_element(story.submission())
    label = Payload("korean-label@sample", "application/pdf", LABEL)

    def seal(number: int) -> object:
        del number
        unit = story.broker.message("Submit", content)
        return story.broker.seal(story.broker.message("Submit", content, payloads=(unit.payloads[0], label)))

    parcels = [seal(number) for number in range(_ROUNDS + 10)]

    def post(number: int) -> None:
        answer = client.post(
            "/api/v1/submissions",
            data=content,
            content_type="application/xml",
            headers=headers | {"Idempotency-Key": f"bench-{number}"},
        )
        assert answer.status_code == 201

    def get(path: str) -> Callable[[int], None]:
        def ask(number: int) -> None:
            del number
            assert client.get(f"/api/v1/{path}", headers=headers).status_code == 200

        return ask

    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    number = story.case().number
    found = {
        "receive": measure(lambda one: story.house.post(parcels[one])),  # type: ignore[arg-type]
        "POST /submissions": measure(post),
        "GET /cases/{number}": measure(get(f"cases/{number}")),
        "GET /cases": measure(get("cases")),
        "GET /events": measure(get("events")),
        "GET /status": measure(get("status")),
    }
    engine.dispose()
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        found = run_benchmark(Path(folder))
    if arguments.json:
        print(json.dumps(found))
        return
    for name, figures in found.items():
        told = "  ".join(f"{what} {value:6.2f}" for what, value in figures.items())
        print(f"{name:20} {told}")


if __name__ == "__main__":
    main()
