"""The ways in which a document reads the answers of another application of a submission."""

from __future__ import annotations

from gateway.harmonize.language import (
    DocumentMapping,
    ReadSet,
    UniqueField,
    find_matching_member,
    list_enclosing_names,
)


def find_shared_read_kinds(
    reads: ReadSet, reader: DocumentMapping, other: DocumentMapping, ask: UniqueField | None
) -> frozenset[str]:
    """Return the ways in which `reader`, with its read set, reads an answer to `ask` of `other`.

    Without `ask`: the ways in which the number of a goods item with such answers is read.
    """
    if other.direction != reader.direction:
        return frozenset()
    shared = {own.means: own for own in reader.shared_asks}
    if ask is None:
        met = [own for own in other.shared_asks if own.per == "item" and own.means in shared]
        return frozenset({"key"}) if met else frozenset()
    theirs = [other.ask_names[name] for name in list_enclosing_names(ask.name)]
    ours = shared.get(theirs[0].means) if theirs[0].shared else None
    for member in theirs[1:]:
        ours = None if ours is None else find_matching_member(member, ours.fields)
    read = None if ours is None else reads.find_entry(ours)
    return frozenset() if read is None else read.read_kinds | {"guard"}
