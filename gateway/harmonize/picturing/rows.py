"""What a picture of a mapping shows: rows on both sides, and what ties them together.

Everything is told from the mapping alone.  A row on the left is a common meaning, a group of
them, or an asked field; one on the right an element or an attribute of the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document, Need
from gateway.harmonize.language.sources import Index
from gateway.harmonize.language.targets import AttributePut, Each, Target
from gateway.harmonize.language.totals import GroupCount
from gateway.harmonize.picturing.badges import Badge, badges_of, repeat_badges, size_of
from gateway.harmonize.terms.asks import Ask, flatten
from gateway.harmonize.terms.conditions import Condition, guards
from gateway.harmonize.terms.dictionary import Group, Meaning

__all__ = ["Badge", "Left", "Link", "Picture", "Right", "picture"]


@dataclass(frozen=True, slots=True)
class Left:
    """A common meaning (`kind` common), a group of them (group) or an asked field (ask).

    `tag` is the WCO id of a meaning, `must` is M, O or C (mandatory, optional, conditional),
    `depth` how deep it stands in groups; `hint` is told when a reader points at the row.
    """

    key: str
    kind: str
    tag: str
    must: str
    ko: str
    en: str
    depth: int
    hint: str


@dataclass(frozen=True, slots=True)
class Right:
    """An element or attribute of the request, in the order of the XML.

    `filled` says whether a line of the mapping gives it a value; `badges` what that line and
    the repetition do.
    """

    name: str
    depth: int
    filled: bool
    badges: tuple[Badge, ...]
    size: str
    hint: str


@dataclass(frozen=True, slots=True)
class Link:
    """A line from the left row `key` to the right row `to`: value, attribute, guard, key or count."""

    key: str
    to: int
    how: str


@dataclass(slots=True)
class Picture:
    """One mapping as a picture; `arcs` tie a left row that decides to the one that it decides about."""

    document: Document
    left: dict[str, Left] = field(default_factory=dict)
    right: list[Right] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    arcs: list[tuple[str, str]] = field(default_factory=list)

    def tie(self, sources: Iterable[Ask | Meaning | Group], to: int, how: str) -> None:
        """Add a line from each of `sources`; between two rows there is one line, that which says most."""
        for source in sources:
            known = {(link.key, link.to) for link in self.links}
            if (key_of(source), to) not in known:
                self.links.append(Link(key_of(source), to, how))


def key_of(source: Ask | Meaning | Group) -> str:
    """Return the key of the left row of a field, a meaning or a group of the dictionary."""
    kinds = {Ask: "ask", Meaning: "common", Group: "group"}
    return f"{kinds[type(source)]}:{source.name}"


def picture(document: Document, bundle: Bundle) -> Picture:
    """Return the picture of a document; the left rows stand in the order of the mapping."""
    made = Picture(document)
    rows: list[Left] = [_need(need) for need in document.needs]
    rows += [_ask(ask) for ask in flatten(document.asks)]
    made.left = {row.key: row for row in rows}
    _Tree(made, bundle).add(document.root, document.root.name + document.root.predicates, 0)
    for need in document.needs:
        _arcs(made, need.when, key_of(need.meaning))
    for ask in flatten(document.asks):
        _arcs(made, ask.requirement.when, key_of(ask))
    for link in made.links:
        if link.key not in made.left:
            made.left[link.key] = _group(bundle.dictionary.groups[link.key.partition(":")[2]])
    return made


def _arcs(made: Picture, when: Condition | None, about: str) -> None:
    for key in dict.fromkeys(key_of(test.source) for test in guards(when) if test) if when else ():
        if key in made.left and key != about:
            made.arcs.append((key, about))


def _need(need: Need) -> Left:
    meaning = need.meaning
    must = "M" if need.mandatory else "C" if need.when is not None else "O"
    place = f"{'Supplement' if meaning.supplement else 'Declaration'}: {meaning.path}"
    depth = 0 if meaning.per in ("header", "item") else 1
    hint = f"{meaning.name}\n{place}\n{need.mark}"
    return Left(key_of(meaning), "common", meaning.wco or "own", must, meaning.ko, meaning.en, depth, hint)


def _ask(ask: Ask) -> Left:
    rule = ask.requirement
    must = "M" if rule.mandatory else "C" if rule.when is not None else "O"
    repeat = f"\n{ask.repeat[0]} to {ask.repeat[1]} times" if ask.many else ""
    hint = f"{ask.name}: {ask.type}, for each {ask.home}\nmeans {ask.means}{repeat}\n{ask.mark}"
    depth = ask.group.count(".") + 1 if ask.group else 0
    tag = "group" if ask.type == "group" else "asked"
    return Left(key_of(ask), "ask", tag, must, ask.ko, ask.en, depth, hint)


def _group(group: Group) -> Left:
    name = group.path.rpartition("/")[2]
    return Left(key_of(group), "common", "group", "O", group.name, name, 0, f"{group.name}\n{group.path}")


@dataclass(frozen=True, slots=True)
class _Tree:
    """Adds the rows of the right side, each with the lines that lead to it."""

    made: Picture
    bundle: Bundle

    def add(self, target: Target, name: str, depth: int) -> None:
        """Add an element with all below it; elements that hold one element alone share its row."""
        inner = list(target.own)
        if depth and len(inner) == 1 and _is_passage(target):
            self.add(inner[0], f"{name}/{_name(inner[0])}", depth)
            return
        to = len(self.made.right)
        content = target.content
        badges = (*repeat_badges(target), *badges_of(target, None))
        size = size_of(target.shape) if content is not None else ""
        hint = f"{name}\n{target.mark}"
        self.made.right.append(Right(name, depth, content is not None, badges, size, hint))
        self._tie(target, to)
        for put in target.attributes:
            self._attribute(target, put, depth + 1)
        for child in inner:
            self.add(child, _name(child), depth + 1)

    def _tie(self, target: Target, to: int) -> None:
        if target.content is not None:
            self.made.tie(target.content.forwards(), to, "value")
            self.made.tie(target.content.reads(), to, "key")
            self._positions(target, to)
        if target.each is not None:
            self._each(target.each, to)
        self._when(target.when, to)

    def _positions(self, target: Target, to: int) -> None:
        source = target.content.source if target.content is not None else None
        if isinstance(source, GroupCount):
            self.made.tie([source.group], to, "count")
        if isinstance(source, Index):
            self.made.tie(self._named(source.group), to, "count")

    def _named(self, name: str) -> Iterator[Ask | Meaning | Group]:
        document, dictionary = self.made.document, self.bundle.dictionary
        found = (document.ask_names.get(name), dictionary.groups.get(name), dictionary.meanings.get(name))
        yield from (one for one in found if one is not None)

    def _each(self, each: Each, to: int) -> None:
        if each.ask is not None:
            self.made.tie([each.ask], to, "count")
        elif each.over == "common":
            self.made.tie([self.bundle.dictionary.groups[each.group]], to, "count")
        elif each.key is not None:
            self.made.tie([each.key], to, "key")
        self._when(each.when, to)

    def _when(self, when: Condition | None, to: int) -> None:
        if when is not None:
            self.made.tie((test.source for test in guards(when)), to, "guard")

    def _attribute(self, target: Target, put: AttributePut, depth: int) -> None:
        to = len(self.made.right)
        hint = f"{target.name}/@{put.name}\n{put.mark}"
        badges = badges_of(target, put)
        self.made.right.append(Right(f"@{put.name}", depth, True, badges, size_of(put.shape), hint))
        if put.content is not None:
            self.made.tie(put.content.forwards(), to, "value")
            self.made.tie(put.content.reads(), to, "key")
        elif target.content is not None and (carrier := target.content.source.carries()) is not None:
            self.made.tie([carrier], to, "attribute")


def _name(target: Target) -> str:
    return target.name + target.predicates.replace("'", "")


def _is_passage(target: Target) -> bool:
    """Return whether an element does nothing but hold one other."""
    nothing = target.content is None and target.each is None and target.when is None
    return nothing and not target.attributes and not target.siblings
