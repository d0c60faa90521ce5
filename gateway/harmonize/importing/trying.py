"""Tries the checks that an import has written, so that none of them keeps a mapping from loading."""

from __future__ import annotations

from gateway.errors import GatewayError
from gateway.harmonize.importing.lists import Lists
from gateway.harmonize.importing.meanings import Meanings
from gateway.harmonize.language.checks import read_checks
from gateway.harmonize.terms.asks import flatten, read_asks
from gateway.harmonize.terms.codelists import read_codelists
from gateway.harmonize.terms.marks import Node, Table, read_yaml

__all__ = ["refused_checks"]


def refused_checks(text: str, lists: Lists, meanings: Meanings) -> dict[str, str]:
    """Return, by their ids, why checks of a mapping's `text` cannot be read; empty where all can."""
    root = read_yaml(text.encode(), "mapping").value
    if not isinstance(root, dict) or "checks" not in root:
        return {}
    added = "\n".join(["lists:", *lists.lines.values(), ""]) if lists.lines else "lists: {}\n"
    known = dict(lists.shipped) | read_codelists(
        read_yaml(added.encode(), "lists"), lambda name: lists.files[name].encode()
    )
    dictionary = meanings.whole(known)
    try:
        asks = {ask.name: ask for ask in flatten(read_asks(root["asks"], known, dictionary))}
    except GatewayError:
        return {}  # the mapping is refused when it is loaded, and named then
    found = {}
    for entry in root["checks"].items("checks"):
        alone = Table({"checks": Node([entry], entry.mark)}, entry.mark, "document", {})
        try:
            read_checks(alone, asks, dictionary, known)
        except GatewayError as error:
            found[entry.table("check").text("id")] = error.detail
    return found
