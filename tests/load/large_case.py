"""A case of very many goods items and five agencies: seconds and memory of its admission.

``python -m tests.load.large_case [--items N] [--database URL]``. The submission is made here. It is
admitted by a process of its own (`large_admission`), whose memory is that of a worker.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.message_model import Payload
from gateway.wire import serialize_element
from gateway.xmlsec import sign_document
from tests.kit.filling import DEC, SUB
from tests.load import splitting
from tests.load.admitting import calling_hub
from tests.load.place import Broker, Place, make_place
from tests.load.receiving import hub_takes
from tests.load.stopwatch import machine, say

#: One document of each of five agencies.
DOCUMENTS = ("KPTA-PHARM-IMP", "KFDA-FOOD-IMP", "NPQS-PLA-IMP", "NVRQS-LIV-IMP", "KTL-ELEC-IMP")
_FILE = b"%PDF-1.4 a small file that every attachment of this case is"


def submission(
    broker: Broker, items: int, reference: str, first_file: bytes = _FILE
) -> tuple[bytes, tuple[Payload, ...]]:
    """Return a submission of so many goods items for five agencies, signed by the broker, and its files.

    The first attachment is `first_file`.
    """
    root = etree.fromstring(splitting.submission(items, DOCUMENTS))
    for place in (f"{SUB}Reference", f".//{DEC}Declaration/{DEC}FunctionalReferenceID"):
        root.find(place).text = reference  # type: ignore[union-attr]
    for party in ("Declarant", "Agent"):
        for one in root.iterfind(f".//{DEC}Declaration/{DEC}{party}/{DEC}ID"):
            one.text = "6N001"
    files = []
    for one in root.iter(f"{SUB}Attachment"):
        file = _FILE if files else first_file
        one.set("sha256", hashlib.sha256(file).hexdigest())
        one.set("size", str(len(file)))
        files.append(Payload(str(one.get("cid")), str(one.get("mediaType")), file))
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
    words = [sys.executable, "-m", "tests.load.large_admission", str(place.home)]
    done = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    # Customs is called too: the declaration, and that agencies must approve.
    became = tuple(done.pop(name) for name in ("large_state", "large_requests", "large_calls"))
    assert became == ("IN_PROGRESS", len(DOCUMENTS), len(DOCUMENTS) + 2), became
    return {"large_items": items, "large_octets": len(octets), **done}


def main(words: Sequence[str]) -> int:
    """Measure and print."""
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
