"""A case of very many goods items and five agencies: seconds and memory of its admission.

``python -m tests.load.large_case [--items N] [--database URL]``. The submission is made here. It is
admitted by a process of its own, whose memory is that of a worker.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.hub.admit import admit_submission
from gateway.hub.readiness.warm_up import warm_up_hub
from gateway.message_model import Payload
from gateway.store import agency_requests, cases, deliveries, messages
from gateway.store.engine import read_transaction
from gateway.wire.xml import serialize_element
from gateway.xmlsec.xades import sign_document
from tests.kit.filling import DEC, SUB
from tests.load import splitting
from tests.load.admitting import calling_hub
from tests.load.place import Broker, Place, make_place
from tests.load.receiving import hub_takes
from tests.load.stopwatch import machine, say

#: One document of each of five agencies.
DOCUMENTS = ("KPTA-PHARM-IMP", "KFDA-FOOD-IMP", "NPQS-PLA-IMP", "NVRQS-LIV-IMP", "KTL-ELEC-IMP")
_FILE = b"%PDF-1.4 a small file that every attachment of this case is"


def submission(broker: Broker, items: int, reference: str) -> tuple[bytes, tuple[Payload, ...]]:
    """Return a submission of so many goods items for five agencies, signed by the broker, and its files."""
    root = etree.fromstring(splitting.submission(items, DOCUMENTS))
    for place in (f"{SUB}Reference", f".//{DEC}Declaration/{DEC}FunctionalReferenceID"):
        root.find(place).text = reference  # type: ignore[union-attr]
    for party in ("Declarant", "Agent"):
        for one in root.iterfind(f".//{DEC}Declaration/{DEC}{party}/{DEC}ID"):
            one.text = "6N001"
    files = []
    for one in root.iter(f"{SUB}Attachment"):
        one.set("sha256", hashlib.sha256(_FILE).hexdigest())
        one.set("size", str(len(_FILE)))
        files.append(Payload(str(one.get("cid")), str(one.get("mediaType")), _FILE))
    signed = serialize_element(sign_document(root, broker.signer, now=datetime.now(UTC)))
    return signed, tuple(files)


def measure(place: Place, items: int) -> Mapping[str, Any]:
    """Hand the case in as a signed message, let a process of its own admit it, and check the case."""
    say(f"large: a case of {items} items and {len(DOCUMENTS)} agencies")
    broker, hub = Broker(place.home), calling_hub(place)
    for name, number in (("LARGE-WARM", 1), ("LARGE-CASE", items)):
        octets, files = submission(broker, number, name)
        hub_takes(hub, broker.seal("Submit", Payload("submission@load", "application/xml", octets), *files))
    hub.close()
    words = [sys.executable, "-m", "tests.load.large_case", "--admit", str(place.home), str(place.port)]
    done = subprocess.run([*words, place.database], check=True, stdout=subprocess.PIPE, text=True)
    return {"large_items": items, "large_octets": len(octets), **json.loads(done.stdout)}


def admit(place: Place) -> Mapping[str, Any]:
    """Admit the small case, then the large one; return the seconds and MiB of the large one."""
    hub = calling_hub(place)
    warm_up_hub(hub)
    with read_transaction(hub.engine) as conn:
        large, small = (int(row.id) for row in messages.list_messages(conn, limit=2))
    admit_submission(hub, small, lambda _conn: None)
    before = _peak_mib()
    started, used = time.perf_counter(), time.process_time()
    admit_submission(hub, large, lambda _conn: None)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    with read_transaction(hub.engine) as conn:
        case = cases.list_cases(conn, limit=1)[0]
        assert case.state == "IN_PROGRESS", (case.state, str(case.detail)[:500])
        assert len(agency_requests.list_by_case(conn, case.id)) == len(DOCUMENTS)
        called = [row.destination for row in deliveries.list_by_case(conn, case.id) if row.agent == "soap"]
        assert len(called) == len(DOCUMENTS) + 2, called
    hub.close()
    return {
        "large_s": round(seconds, 3),
        "large_cpu_s": round(processor, 3),
        "large_before_mib": before,
        "large_peak_mib": _peak_mib(),
    }


def _peak_mib() -> float:
    """Return the most memory that this process has held so far.

    `ru_maxrss` would count what the process held that started this one.
    """
    held = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert held is not None
    return round(int(held[1]) / 1024, 1)


def main(words: Sequence[str]) -> int:
    """Measure and print; with ``--admit`` be the process that admits."""
    if words[:1] == ["--admit"]:
        home, port, database = words[1:]
        print(json.dumps(admit(Place(Path(home), int(port), database))))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.load.large_case", description=__doc__)
    parser.add_argument("--items", type=int, default=999)
    parser.add_argument("--database", default="", help="SQLAlchemy URL of an empty database")
    arguments = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="gateway-large-"))
    try:
        found = measure(make_place(folder / "large", database=arguments.database), arguments.items)
        print(json.dumps({**found, "machine": machine(folder)}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
