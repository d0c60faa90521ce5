"""The 22 real agreements, and what a careless writer may do to one."""

from __future__ import annotations

import random
from copy import deepcopy
from pathlib import Path

from lxml import etree

from gateway.wire import TP
from tests.wire.tree_mutations import mutate

_VALUES = (
    *(
        "always",
        "never",
        "perMessage",
        "none",
        "mshSignalsOnly",
        "Guaranteed",
        "proposed",
        "PT5M",
        "P1Y",
        "-PT1S",
    ),
    *(
        "0",
        "-1",
        "1e3",
        "true",
        "TRUE",
        "transient-and-persistent",
        "2031-01-01T00:00:00Z",
        "2031-02-30T00:00:00Z",
    ),
    *(
        "",
        " ",
        "a b",
        "urn:x",
        "response",
        "allPurpose",
        "no-such-id",
        "http://[",
        "ftp://host/",
        "x" * 2000,
        "한국",
    ),
)


def list_real_files(vectors: Path) -> list[Path]:
    """Return the agreements of real partners, in the order of their names."""
    place = vectors / "outside/ebms2"
    return sorted([*(place / "cpa").glob("*.xml"), *(place / "ebms-core-live").glob("cpa-*.xml")])


def mutate_agreement(rng: random.Random, document: etree._Element) -> tuple[etree._Element, str]:
    """Return a changed copy of an agreement and the names of the changes."""
    if rng.random() < 0.4:
        return mutate(rng, document)
    root = deepcopy(document)
    done = []
    for _ in range(rng.choice((1, 1, 2))):
        element = rng.choice(list(root.iter("*")))
        done.append(_change_own_words(rng, root, element))
    return root, ", ".join(done)


def _change_own_words(rng: random.Random, root: etree._Element, element: etree._Element) -> str:
    name = etree.QName(element).localname
    others = sorted({str(one.tag) for one in root.iter(f"{{{TP}}}*")})
    kind = rng.choice(("value", "value", "drop", "tag", "text", "child", "attribute"))
    if kind == "value" and element.attrib:
        element.set(rng.choice(sorted(map(str, element.attrib))), rng.choice(_VALUES))
    elif kind == "drop" and element.attrib:
        del element.attrib[rng.choice(sorted(map(str, element.attrib)))]
    elif kind == "tag":
        element.tag = rng.choice(others)
    elif kind == "text":
        element.text = rng.choice(_VALUES)
    elif kind == "child":
        element.insert(rng.randint(0, len(element)), etree.Element(rng.choice(others)))
    elif kind == "attribute":
        known = sorted({str(key) for one in root.iter(f"{{{TP}}}*") for key in one.attrib})
        element.set(rng.choice(known), rng.choice(_VALUES))
    return f"{kind} {name}"
