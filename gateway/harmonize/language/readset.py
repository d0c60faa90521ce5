"""What a document may look at: its read set.

A request is a function of its document's read set and of nothing else, so the set names
everything that can change the request or stop it: values, the attributes that belong to
them, guards, keys and counts, each with the rules that read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize.language.documents import Check, Document
from gateway.harmonize.language.sharing import member_like
from gateway.harmonize.language.sources import Concat, Convert, Converted, Index
from gateway.harmonize.language.targets import Each, Target, leaf_of
from gateway.harmonize.language.totals import GroupCount, Sum
from gateway.harmonize.terms.asks import Ask, flatten
from gateway.harmonize.terms.conditions import Condition, guards
from gateway.harmonize.terms.dictionary import ITEM_PATH, Dictionary, Group, Meaning
from gateway.harmonize.terms.marks import Mark

__all__ = ["HOWS", "Read", "ReadSet", "Use", "read_set"]

HOWS: Final = ("value", "attribute", "guard", "key", "count")
_SUPPLEMENT_KEYS: Final = ("path", "item", "n")
_ITEM_NUMBER: Final = f"{ITEM_PATH}/SequenceNumeric"
Readable = Ask | Meaning | Group


@dataclass(frozen=True, slots=True)
class Use:
    """One way in which something is read (one of `HOWS`), and the rule that does it."""

    how: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Read:
    """An asked field or group, a common meaning or a group of the dictionary, with all its uses."""

    source: Readable
    uses: tuple[Use, ...]

    @property
    def hows(self) -> frozenset[str]:
        """Return the ways in which it is read."""
        return frozenset(use.how for use in self.uses)

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Return the rules that read it, each once."""
        return tuple(dict.fromkeys(use.mark for use in self.uses))


@dataclass(frozen=True, slots=True)
class ReadSet:
    """Everything that a document reads.

    `reads` is keyed by kind and name (``ask:drug_class``, ``common:importer.name``,
    ``group:container``).  `paths` says of each leaf of declaration and supplement, by its
    path and whether it belongs to a goods item, in which ways it is read; a leaf that is
    not there is none of the document's business.  `items` are the rules that go over the
    goods items or count them; `supplement` is the rule that makes the keys of all values of
    the supplement (``@path``, ``@item``, ``@n``) read, since one of them is looked for.
    `shared` are the fields, by meaning, whose answer may stand in another application of the
    same `direction`: it is taken from there, or compared with the document's own.
    """

    document: str
    reads: Mapping[str, Read]
    paths: Mapping[tuple[str, bool], frozenset[str]]
    items: tuple[Mark, ...]
    supplement: Mark | None
    direction: str = ""
    shared: Mapping[str, Ask] = field(default_factory=dict)

    def get(self, source: Readable) -> Read | None:
        """Return how something is read, None when it is not."""
        return self.reads.get(_key(source))

    def how(self, path: str, *, in_item: bool) -> frozenset[str]:
        """Return the ways in which a leaf of the declaration or the supplement is read, none: not at all."""
        inside, _, attribute = path.rpartition("/@")
        if self.supplement is not None and inside.startswith("SUP/") and attribute in _SUPPLEMENT_KEYS:
            return frozenset({"key"})
        found = self.paths.get((path, in_item), frozenset())
        # Items are known by their numbers, also where a document says nothing of them.
        return found | {"key"} if in_item and path == _ITEM_NUMBER else found

    def how_shared(self, document: Document, ask: Ask | None) -> frozenset[str]:
        """Return the ways in which an answer to `ask` of another document is read, none: not at all.

        Without `ask`: the number of a goods item that answers there are for.
        """
        if document.direction != self.direction:
            return frozenset()
        if ask is None:
            met = (self.shared.get(one.means) for one in document.asks if one.shared and one.per == "item")
            return frozenset({"key"}) if any(met) else frozenset()
        parts = ask.name.split(".")
        theirs = [document.ask_names[".".join(parts[: end + 1])] for end in range(len(parts))]
        ours = self.shared.get(theirs[0].means) if theirs[0].shared else None
        for member in theirs[1:]:
            ours = None if ours is None else member_like(member, ours.fields)
        read = None if ours is None else self.get(ours)
        return frozenset() if read is None else read.hows | {"guard"}


def read_set(document: Document, dictionary: Dictionary) -> ReadSet:
    """Return everything that `document` reads, told from its mapping alone."""
    found: dict[str, list[Use]] = {}
    sources: dict[str, Readable] = {}
    for source, how, mark in _reads(document, dictionary):
        sources.setdefault(_key(source), source)
        uses = found.setdefault(_key(source), [])
        if (use := Use(how, mark)) not in uses:
            uses.append(use)
    reads = {key: Read(sources[key], tuple(uses)) for key, uses in found.items()}
    supplement = next((need.mark for need in document.needs if need.meaning.supplement), None)
    return ReadSet(
        document.id,
        reads,
        _paths(reads.values(), dictionary, document),
        tuple(_items(document)),
        supplement,
        document.direction,
        {ask.means: ask for ask in document.asks if ask.shared},
    )


def _key(source: Readable) -> str:
    kinds = {Ask: "ask", Meaning: "common", Group: "group"}
    return f"{kinds[type(source)]}:{source.name}"


def _reads(document: Document, dictionary: Dictionary) -> Iterator[tuple[Readable, str, Mark]]:
    for target in document.root.leaves():
        yield from _target_reads(target, dictionary, document)
    for need in document.needs:
        # A document does not do without what it needs, and takes nothing that stands twice.
        yield need.meaning, "count", need.mark
        yield from _guard_reads(need.when, need.mark)
    for ask in flatten(document.asks):
        yield ask, "count", ask.mark
        if ask.type != "group":
            yield ask, "guard", ask.mark
        if ask.attribute is not None:
            yield ask, "attribute", ask.mark
        yield from _guard_reads(ask.requirement.when, ask.mark)
    for check in document.checks:
        yield from _check_reads(check)


def _target_reads(
    target: Target, dictionary: Dictionary, document: Document
) -> Iterator[tuple[Readable, str, Mark]]:
    if target.content is not None:
        yield from _content_reads(target.content, target.mark, dictionary, document)
    for put in target.attributes:
        if put.content is not None:
            yield from _content_reads(put.content, put.mark, dictionary, document)
        elif target.content is not None and (carrier := target.content.source.carries()) is not None:
            yield carrier, "attribute", put.mark
    yield from _guard_reads(target.when, target.mark)
    if target.each is not None:
        yield from _each_reads(target.each, dictionary)


def _content_reads(
    content: Converted, mark: Mark, dictionary: Dictionary, document: Document
) -> Iterator[tuple[Readable, str, Mark]]:
    source = content.source
    values = list(source.forwards())
    yield from ((one, "value", mark) for one in values)
    for one in list(source.reads())[len(values) :]:
        yield one, "count" if one.type == "group" else "key", mark
    if isinstance(source, GroupCount):
        yield source.group, "count", mark
    if isinstance(source, Index):
        yield from ((one, "count", mark) for one in _named(source.group, dictionary, document))
    for step in content.steps:
        yield from ((one, "key", mark) for one in step.reads())
        if isinstance(step, Convert):
            yield from ((one, "attribute", mark) for one in values if one.attribute is not None)
    if isinstance(source, Concat):
        for part in source.parts:
            yield from _content_reads(part, mark, dictionary, document)
    if isinstance(source, Sum) and source.source.attribute is not None:
        yield source.source, "attribute", mark


def _named(name: str, dictionary: Dictionary, document: Document) -> Iterator[Readable]:
    """Yield the group, or the field items are grouped by, of which a line writes the position."""
    every: Iterable[Readable | None] = (
        document.ask_names.get(name),
        dictionary.groups.get(name),
        dictionary.meanings.get(name),
    )
    yield from (one for one in list(every) if one is not None)


def _each_reads(each: Each, dictionary: Dictionary) -> Iterator[tuple[Readable, str, Mark]]:
    if each.ask is not None:
        yield each.ask, "count", each.mark
    elif each.over == "common":
        yield dictionary.groups[each.group], "count", each.mark
    elif each.key is not None:
        yield each.key, "key", each.mark
    yield from _guard_reads(each.when, each.mark)


def _guard_reads(condition: Condition | None, mark: Mark) -> Iterator[tuple[Readable, str, Mark]]:
    for test in guards(condition) if condition is not None else ():
        yield test.source, "guard", mark


def _check_reads(check: Check) -> Iterator[tuple[Readable, str, Mark]]:
    for one in _checked(check):
        yield one, "guard", check.mark
        if one.attribute is not None:
            yield one, "attribute", check.mark


def _checked(check: Check) -> Iterator[Ask | Meaning]:
    yield from check.reads()


def _items(document: Document) -> Iterator[Mark]:
    for target in document.root.leaves():
        if target.each is not None and target.each.over in ("item", "distinct"):
            yield target.each.mark
    yield document.mark


def _paths(
    reads: Iterable[Read], dictionary: Dictionary, document: Document
) -> dict[tuple[str, bool], frozenset[str]]:
    listed = {group for need in document.needs for group in dictionary.chain(need.meaning.per)}
    found: dict[tuple[str, bool], frozenset[str]] = {}

    def add(path: tuple[str, bool], hows: Iterable[str]) -> None:
        found[path] = found.get(path, frozenset()) | frozenset(hows)

    for read in reads:
        if isinstance(read.source, Group) and read.source.name not in listed:
            # An element of a group that holds nothing is a leaf itself, and is counted as any other;
            # where values of the group are listed, only an element with one of them is.
            add((dictionary.path_of(read.source), dictionary.is_item(read.source.per)), ("count",))
        if not isinstance(read.source, Meaning):
            continue
        meaning, (path, in_item) = read.source, leaf_of(read.source)
        add((path, in_item), read.hows - {"attribute"})
        if meaning.attribute is not None and "attribute" in read.hows:
            add((f"{path}/@{meaning.attribute}", in_item), ("attribute",))
        if meaning.supplement:
            continue
        if meaning.type == "datetime":
            add((f"{path}/@formatCode", in_item), ("key",))
        if meaning.where is not None:
            add((f"{meaning.path.rpartition('/')[0]}/{meaning.where.element}", in_item), ("key",))
    return found
