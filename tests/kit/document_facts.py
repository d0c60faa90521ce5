"""The tables of the manual that are facts of the shipped mappings and of the submissions that try them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import yaml

from gateway.harmonize import DocumentMapping, MappingBundle, load_bundle
from gateway.harmonize.language import walk_fields
from gateway.share import get_data_folder
from tests.kit.markdown import table
from tests.kit.paths import ROOT

__all__ = ["draw_documents", "draw_organisations", "draw_shared_answers"]

Words = Mapping[tuple[str, ...], str]
_SUBMISSIONS = ROOT / "conformance" / "submissions"


@cache
def _bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


def draw_documents(_: Words) -> str:
    """Draw the table of the documents: what each holds, and what was tried of it."""
    head = ("document", "law", "declared", "asked", "when", "shared", "checks", "answers", "bad", "kinds")
    return table(head, (_describe(one) for one in _bundle().documents.values()))


def _describe(document: DocumentMapping) -> list[str]:
    asks = list(walk_fields(document.asks))
    conditions = [one for one in asks if one.requirement.when is not None]
    needs = [need for need in document.needs if need.when is not None]
    bad = _read_cases(document.id)
    return [
        f"`{document.id}`",
        ", ".join(document.laws),
        str(len(document.needs)),
        str(len(asks)),
        str(len(conditions) + len(needs)),
        str(sum(one.shared for one in asks)),
        str(len(document.checks)),
        _name_answers(document),
        str(len(bad)),
        str(len(set(bad))),
    ]


def _name_answers(document: DocumentMapping) -> str:
    own = [name.removeprefix("GOVCBR") for name, _ in document.accepted_notices.notices if name != "shared"]
    certificate = document.accepted_notices.certificate
    last = certificate[0].removeprefix("GOVCBR") if certificate is not None else ""
    return ", ".join([*own, "certificate" if last == "CERTIFICATE" else last])


def _read_cases(document: str) -> list[str]:
    """Return the kind of each bad submission of a document."""
    path = _SUBMISSIONS / document / "invalid.yaml"
    return [str(one["kind"]) for one in yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)["cases"]]


def draw_organisations(_: Words) -> str:
    """Draw the table of the organisations that have documents."""
    documents = list(_bundle().documents.values())
    rows = []
    for code, organisation in _bundle().organisations.items():
        own = [f"`{one.id}`" for one in documents if one.organisation == code]
        if own:
            rows.append((f"`{code}`", organisation.en, organisation.kind, ", ".join(own)))
    return table(("organisation", "name", "kind", "documents"), rows)


def draw_shared_answers(_: Words) -> str:
    """Draw the table of the meanings that several documents of one direction ask, answered once."""
    asked: dict[tuple[str, str], list[str]] = {}
    for document in _bundle().documents.values():
        for one in walk_fields(document.asks):
            if one.shared:
                asked.setdefault((one.means, document.direction), []).append(f"`{document.id}`")
    rows = [
        (f"`{means}`", direction, ", ".join(names))
        for (means, direction), names in sorted(asked.items())
        if len(names) > 1
    ]
    return table(("meaning", "direction", "documents"), rows)
