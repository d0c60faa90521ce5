"""The verbs of this package for the command line of the gateway, named by an entry point in `setup.cfg`."""

from __future__ import annotations

from typing import Final

from gateway.cli.verb_table import Verb, VerbTable

_VERBS: Final = "gateway_workbench.verbs"

VERB_TABLE: Final = VerbTable(
    nouns={},
    verbs={
        "map matrix": Verb(
            f"{_VERBS}.map_matrix", "draw one mapping as an HTML page", "DOCUMENT --out document.html"
        ),
        "map import": Verb(
            f"{_VERBS}.map_import",
            "convert an inventory of documents to a folder of mappings",
            "inventory.yaml --out mappings",
        ),
    },
)
