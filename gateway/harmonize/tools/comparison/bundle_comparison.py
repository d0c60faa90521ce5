"""Compares two mapping bundles and says what changes, in the language of fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from gateway.harmonize.language import DocumentMapping, MappingBundle
from gateway.harmonize.tools.comparison.line_descriptions import describe_targets, find_new_order
from gateway.harmonize.tools.comparison.part_descriptions import (
    Described,
    PartDescription,
    describe_asks,
    describe_checks,
    describe_codes,
    describe_head,
    describe_list,
    describe_meanings,
    describe_needs,
    describe_organisations,
    describe_rules,
)
from gateway.harmonize.tools.comparison.shared_descriptions import (
    describe_carriers,
    describe_decisions,
    describe_facts,
    describe_notice_lines,
    describe_notices,
    describe_units,
)

__all__ = ["BundleChange", "compare_bundles"]

#: For each kind of part: the words when it is new, when it is gone, and before what becomes what.
_WORDS: Final = {
    "document": ("is a new document", "is no document any more", "changes"),
    "ask": ("asks {}", "no longer asks {}", "asks {} in another way"),
    "need": ("uses {} of the declaration", "no longer uses {} of the declaration", "uses {} in another way"),
    "target": ("sends {}", "no longer sends {}", "sends {} in another way"),
    "order": ("", "", "sends {} at another place"),
    "check": ("checks {}", "no longer checks {}", "checks {} in another way"),
    "list": ("new code list {}", "code list {} is gone", "code list {} changes"),
    "code": ("code {} is new", "code {} is gone", "code {} changes"),
    "meaning": ("new common meaning {}", "common meaning {} is gone", "common meaning {} changes"),
    "organisation": ("new organisation {}", "organisation {} is gone", "organisation {} changes"),
    "carrier": ("{} speaks a form of its own", "{} speaks XML again", "{} speaks its form in another way"),
    "fact": ("new fact {} of notices", "fact {} of notices is gone", "fact {} of notices changes"),
    "notice": ("new notice {}", "notice {} is gone", "notice {} changes"),
    "line": ("new element {} of notices", "element {} of notices is gone", "element {} of notices changes"),
    "unit": ("new unit {}", "unit {} is gone", "unit {} changes"),
    "decision": ("new decision on {}", "decision on {} is gone", "decision on {} changes"),
    "rule": ("new rule {}", "rule {} is gone", "rule {} changes"),
}
_CONTENTS: Final[tuple[tuple[str, Callable[[DocumentMapping], Described]], ...]] = (
    ("ask", describe_asks),
    ("need", describe_needs),
    ("check", describe_checks),
)
#: What a new or lost field is told with, where it has a value.
_TOLD: Final = ("required", "type", "codes", "source")
#: What is new of these is told with all that it says.
_WHOLE: Final = ("carrier", "unit", "decision")


@dataclass(frozen=True, slots=True)
class BundleChange:
    """One change: what is `added`, `removed` or `changed`, and where.

    `document` and `organisation` are empty where the change concerns the whole bundle. `part` is
    document, ask, need, target, order, check, list, code, meaning, organisation, carrier, fact, notice,
    line (of a notice), unit, decision or rule, `name` its name (of a code ``list/code``). `before` and
    `after` are the words of the aspects that differ.
    `place` is the file and line in the new bundle, or in the old one for what is gone.
    """

    change: str
    part: str
    name: str
    document: str
    organisation: str
    ko: str
    en: str
    before: dict[str, str]
    after: dict[str, str]
    place: str

    @property
    def sentence(self) -> str:
        """Return the change as one English sentence without a full stop."""
        words = _WORDS[self.part][("added", "removed", "changed").index(self.change)]
        subject = f"{self.en} ({self.name})" if self.en and self.en != self.name else self.name
        start = f"{self.document} " if self.document else ""
        if self.part == "code":
            start, subject = f"code list {self.name.partition('/')[0]}: ", _name_code(self)
        return start + words.format(subject) + self._tell_aspects()

    def _tell_aspects(self) -> str:
        if self.change == "changed":
            told = (
                f"{name} {self.before.get(name) or 'none'} becomes {self.after.get(name) or 'none'}"
                for name in self.after
            )
            return f": {'; '.join(told)}"
        aspects = self.after if self.change == "added" else {}
        names = aspects if self.part in _WHOLE else _TOLD
        told = (f"{name} {aspects[name]}" for name in names if aspects.get(name))
        return "".join(f", {one}" for one in told)


def _name_code(change: BundleChange) -> str:
    code = change.name.partition("/")[2]
    return f"{code} ({change.en})" if change.en else code


def compare_bundles(before: MappingBundle, after: MappingBundle) -> tuple[BundleChange, ...]:
    """Return every difference of two bundles in the order of the new one; nothing for equal content.

    Documents come first, then code lists, common meanings, and what else all documents share.
    """
    kinds = (
        ("meaning", describe_meanings),
        ("organisation", describe_organisations),
        ("carrier", describe_carriers),
        ("rule", describe_rules),
        ("fact", describe_facts),
        ("notice", describe_notices),
        ("unit", describe_units),
        ("decision", describe_decisions),
    )
    rest = (_compare_parts((part, "", ""), describe(before), describe(after)) for part, describe in kinds)
    lines = _compare_notice_lines(before, after)
    return tuple(chain(_compare_documents(before, after), _compare_lists(before, after), *rest, lines))


def _compare_documents(before: MappingBundle, after: MappingBundle) -> Iterator[BundleChange]:
    for name, document in after.documents.items():
        old, where = before.documents.get(name), ("document", name, document.organisation)
        heads = {} if old is None else {name: describe_head(old)}
        yield from _compare_parts(where, heads, {name: describe_head(document)})
        if old is not None:
            yield from _compare_contents(old, document)
    for name, old in before.documents.items():
        if name not in after.documents:
            yield from _compare_parts(("document", name, old.organisation), {name: describe_head(old)}, {})


def _compare_contents(old: DocumentMapping, new: DocumentMapping) -> Iterator[BundleChange]:
    """Yield what changes in one document: its fields, its needs, its checks, its request and its order."""
    for part, describe in _CONTENTS:
        yield from _compare_parts((part, new.id, new.organisation), describe(old), describe(new))
    before, after = describe_targets(old), describe_targets(new)
    yield from _compare_parts(("target", new.id, new.organisation), before, after)
    moved = find_new_order(before, after)
    if moved is not None:
        name, mark = moved[0], str(new.root.mark)
        parts = [PartDescription("", name, {"after": above}, mark) for above in moved[1:]]
        yield _make_change("changed", ("order", new.id, new.organisation), name, (parts[0], parts[1]))


def _compare_lists(before: MappingBundle, after: MappingBundle) -> Iterator[BundleChange]:
    old = {name: describe_list(one) for name, one in before.lists.items()}
    yield from _compare_parts(
        ("list", "", ""), old, {name: describe_list(one) for name, one in after.lists.items()}
    )
    for name in (one for one in after.lists if one in before.lists):
        codes = [
            {f"{name}/{code}": words for code, words in describe_codes(bundle.lists[name]).items()}
            for bundle in (before, after)
        ]
        yield from _compare_parts(("code", "", ""), *codes)


def _compare_notice_lines(before: MappingBundle, after: MappingBundle) -> Iterator[BundleChange]:
    """Yield what changes inside the notices that both bundles have."""
    for name in (one for one in after.notices.notices if one in before.notices.notices):
        parts = [
            {
                f"{name}: {path}": words
                for path, words in describe_notice_lines(one.notices.notices[name]).items()
            }
            for one in (before, after)
        ]
        yield from _compare_parts(("line", "", ""), *parts)


def _compare_parts(
    where: tuple[str, str, str], before: Described, after: Described
) -> Iterator[BundleChange]:
    """Yield the changes of parts of one kind; `where` is that kind, the document and its organisation."""
    for name, new in after.items():
        old = before.get(name)
        if old is None:
            yield _make_change("added", where, name, (None, new))
        elif old.aspects != new.aspects:
            yield _make_change("changed", where, name, (old, new))
    for name, old in before.items():
        if name not in after:
            yield _make_change("removed", where, name, (old, None))


def _make_change(
    change: str,
    where: tuple[str, str, str],
    name: str,
    parts: tuple[PartDescription | None, PartDescription | None],
) -> BundleChange:
    old, new = parts
    shown = new or old
    assert shown is not None, "one of the two is there"
    before = {} if old is None else dict(old.aspects)
    after = {} if new is None else dict(new.aspects)
    if before and after:
        differ = [one for one in {**before, **after} if before.get(one) != after.get(one)]
        before, after = ({one: words.get(one, "") for one in differ} for words in (before, after))
    part, document, organisation = where
    return BundleChange(
        change, part, name, document, organisation, shown.ko, shown.en, before, after, shown.mark
    )
