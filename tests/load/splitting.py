"""The split beside the reading of the same octets, its growth with the goods items, and loading."""

from __future__ import annotations

import copy
import gc
import itertools
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from lxml import etree

from gateway.harmonize import (
    compile_request_schemas,
    index_submission,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
    write_requests,
)
from gateway.harmonize.language import ITEM_PATH
from gateway.hub import tune_garbage_collector
from gateway.share import MemoryPath, get_data_folder
from gateway.wire import parse_xml, serialize_element
from gateway_conformance import DATA_FOLDER
from gateway_workbench import import_inventory
from tests.kit.filling import DEC, SUB, fill, shipped, wrapped
from tests.kit.paths import VECTORS
from tests.load.stopwatch import say

DOCUMENTS = ("KPTA-PHARM-IMP", "KFDA-FOOD-IMP", "NPQS-PLA-IMP")
CURVE = (1, 10, 100, 999)
#: Octets of the declaration that the split is judged by.
DECLARATION = 20 * 1024
_ITEMS = "/".join(f"{DEC}{name}" for name in ITEM_PATH.split("/")[1:])


@cache
def _seed(documents: Sequence[str]) -> bytes:
    """Return a submission of one goods item with an application for each document, complete."""
    sample = DATA_FOLDER.joinpath("samples", "import-three-items.xml").read_bytes()
    declaration = copy.deepcopy(next(etree.fromstring(sample).iter(f"{DEC}Declaration")))
    for other in declaration.findall(_ITEMS)[1:]:
        other.getparent().remove(other)  # type: ignore[union-attr]
    declaration.find(f"{DEC}GoodsItemQuantity").text = "1"  # type: ignore[union-attr]
    root = wrapped(declaration, documents, "load")
    result = fill(root, "load")
    assert [one.document for one in result.requests] == list(documents), result.problems[:3]
    # Enough for a thousand items of drawn prices.
    root.find(f".//{DEC}InvoiceAmount").text = str(10**14)  # type: ignore[union-attr]
    return serialize_element(root)


@cache
def submission(items: int, documents: Sequence[str] = DOCUMENTS) -> bytes:
    """Return a submission of so many like goods items, all of them in each application."""
    root = etree.fromstring(_seed(documents))
    root.find(f".//{DEC}GoodsItemQuantity").text = str(items)  # type: ignore[union-attr]
    for one in root.iter(f"{SUB}Items"):
        one.text = " ".join(str(number) for number in range(1, items + 1))
    repeated = [
        *root.findall(f".//{DEC}Declaration/{_ITEMS}"),
        *(one for one in root.iter(f"{SUB}Value") if one.get("item") is not None),
        *(one for one in root.iter("{*}Item") if one.get("sequence") is not None),
    ]
    for one in repeated:
        for number in range(items, 1, -1):
            one.addnext(_numbered(one, str(number)))
    return serialize_element(root)


def _numbered(one: etree._Element, number: str) -> etree._Element:
    twin = copy.deepcopy(one)
    for name in ("item", "sequence"):
        if twin.get(name) is not None:
            twin.set(name, number)
    sequence = twin.find(f"{DEC}SequenceNumeric")
    if sequence is not None:
        sequence.text = number
    return twin


def of_size(octets: int) -> int:
    """Return how many goods items a declaration of so many octets has."""
    one, five = (_declared(submission(items)) for items in (1, 5))
    return max(1, round(1 + (octets - one) * 4 / (five - one)))


def _declared(octets: bytes) -> int:
    return len(etree.tostring(next(etree.fromstring(octets).iter(f"{DEC}Declaration"))))


def measure(samples: int) -> Mapping[str, Any]:
    """Time the split of a usual declaration, its growth, and the loading of mappings.

    All times are of the processor: they are compared with each other, on a machine that
    may do other things.
    """
    # As every process of the gateway does when it starts.
    tune_garbage_collector()
    say("split: beside pre-scan and parse")
    compile_request_schemas(shipped())
    octets = submission(of_size(DECLARATION))
    read_ms, split_ms, requests_ms = _beside(octets, samples)
    say("split: growth with the items")
    curve = [_point(items) for items in CURVE]
    say("split: loading mappings")
    return {
        "split_read_ms": read_ms,
        "split_ms": split_ms,
        "split_ratio": split_ms / read_ms,
        "requests_ms": requests_ms,
        "requests_ratio": requests_ms / read_ms,
        "split_curve": curve,
        "split_worst_step": max(_steps(curve, "split_ms")),
        "split_worst_memory_step": max(_steps(curve, "peak_mib")),
        **_loading(),
    }


def _steps(curve: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return for each step how much more it grew than the items did: 1 is linear."""
    return [
        (after[name] / before[name]) / (after["items"] / before["items"])
        for before, after in itertools.pairwise(curve)
    ]


def _loading() -> Mapping[str, Any]:
    """Time the loading of the shipped mappings, and of an imported inventory where there is one."""
    mappings = get_data_folder("mappings")
    # With a list for faults the folder is read anew; without it the same files give the bundle read before.
    found = {
        "load_documents": len(shipped().documents),
        "load_ms": find_best(lambda: load_bundle(mappings, []), 3),
        "load_again_ms": find_best(lambda: load_bundle(mappings), 3),
    }
    inventory = VECTORS / "data" / "field-inventory.yaml"
    if not inventory.is_file():
        return found
    imported = MemoryPath(import_inventory(inventory.read_bytes(), inventory.name, mappings).files)
    return {
        **found,
        "load_imported_documents": len(load_bundle(imported).documents),
        "load_imported_ms": find_best(lambda: load_bundle(imported, []), 3),
    }


def _beside(octets: bytes, samples: int) -> tuple[float, float, float]:
    """Return the milliseconds of reading, of splitting, and of writing requests alone, by turns."""
    root = parse_xml(octets)
    numbers = make_placeholder_numbers(root)
    read, divided, written = [], [], []
    gc.collect()
    for _ in range(samples):
        read.append(_once(lambda: parse_xml(octets)))
        divided.append(_once(lambda: split_submission(root, shipped(), numbers)))
        written.append(_once(lambda: write_requests(index_submission(root), shipped(), numbers)))
    return min(read), min(divided), min(written)


def _point(items: int) -> dict[str, Any]:
    octets = submission(items)
    root = parse_xml(octets)
    read_ms, split_ms, _ = _beside(octets, max(2, min(60, 600 // items)))
    tracemalloc.start()
    kept = split_submission(root, shipped(), make_placeholder_numbers(root))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept.requests) == len(DOCUMENTS)
    return {
        "items": items,
        "octets": len(octets),
        "read_ms": round(read_ms, 3),
        "split_ms": round(split_ms, 3),
        "peak_mib": round(peak / 2**20, 3),
    }


def _once(work: Callable[[], object]) -> float:
    """Return the milliseconds of one turn."""
    started = time.thread_time()
    work()
    return (time.thread_time() - started) * 1000


def find_best(work: Callable[[], object], turns: int) -> float:
    """Return what the work costs when nobody disturbs it."""
    return min(_once(work) for _ in range(turns))
