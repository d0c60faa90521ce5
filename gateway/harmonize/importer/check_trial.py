"""Reads the checks that an import has written, so that a wrong one does not prevent the load."""

from __future__ import annotations

from gateway.errors import GatewayError
from gateway.harmonize.importer.code_list_choice import ImportedLists
from gateway.harmonize.importer.meaning_match import ImportedMeanings
from gateway.harmonize.language import read_document_checks
from gateway.harmonize.types import (
    YamlNode,
    YamlTable,
    read_code_lists,
    read_unique_fields,
    read_yaml,
    walk_fields,
)

__all__ = ["find_rejected_checks"]


def find_rejected_checks(text: str, lists: ImportedLists, meanings: ImportedMeanings) -> dict[str, str]:
    """Return the reason for each check of a mapping's `text` that cannot be read, by the check's id."""
    root = read_yaml(text.encode(), "mapping").value
    if not isinstance(root, dict) or "checks" not in root:
        return {}
    added = "\n".join(["lists:", *lists.lines.values(), ""]) if lists.lines else "lists: {}\n"
    known = dict(lists.shipped) | read_code_lists(
        read_yaml(added.encode(), "lists"), lambda name: lists.files[name].encode()
    )
    dictionary = meanings.build_dictionary(known)
    try:
        asks = {ask.name: ask for ask in walk_fields(read_unique_fields(root["asks"], known, dictionary))}
    except GatewayError:
        return {}  # the mapping is rejected, with the reason, when it is loaded
    found = {}
    for entry in root["checks"].read_list("checks"):
        alone = YamlTable({"checks": YamlNode([entry], entry.mark)}, entry.mark, "document", {})
        try:
            read_document_checks(alone, asks, dictionary, known)
        except GatewayError as error:
            found[entry.read_table("check").read_text("id")] = error.detail
    return found
