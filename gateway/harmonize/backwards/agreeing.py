"""Holds a request, read backwards, against the submission it was made of: ``get(put(x)) = x``.

Every value that a line should have written is looked up again in the submission; what was
read back must be that value, and nothing else may have been read.  Where a line declares
that it loses something, the value is put again and must give what stands in the request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.applying.answers import read_answers
from gateway.harmonize.applying.splitting import Request
from gateway.harmonize.backwards.reading import ReadBack, Reading
from gateway.harmonize.backwards.totalling import is_total
from gateway.harmonize.given.facts import Facts
from gateway.harmonize.given.scopes import Scope, Trace
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.sources import Concat, Converted, MisfitError, Value
from gateway.harmonize.language.targets import AttributePut, Each, Target
from gateway.harmonize.terms.marks import Mark

__all__ = ["Difference", "agree"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A value of a request that is not what the submission says, or the other way round.

    `pointer` is the place in the submission, empty where it says nothing; `expected` and
    `found` are None where there is nothing.
    """

    path: str
    detail: str
    pointer: str
    expected: str | None
    found: str | None
    rule: Mark


@dataclass(frozen=True, slots=True)
class _Expected:
    """One value that stands in the request by its line: at the source, and as it is put."""

    path: str
    value: Value
    put: str
    rule: Mark
    content: Converted | None = None
    parts: tuple[str, ...] | None = None


@dataclass(slots=True)
class _Comparison:
    facts: Facts
    found: dict[str, list[ReadBack]]
    differences: list[Difference] = field(default_factory=list)
    covered: set[int] = field(default_factory=set)

    def differ(self, expected: _Expected, detail: str, found: str | None) -> None:
        leaves = expected.value.leaves
        pointer = self.facts.leaves[leaves[0]].pointer if leaves else ""
        text = expected.value.text
        self.differences.append(Difference(expected.path, detail, pointer, text, found, expected.rule))


def agree(request: Request, reading: Reading, facts: Facts, bundle: Bundle) -> list[Difference]:
    """Return where `reading`, of the XML of `request`, differs from the submission of `facts`.

    Empty says: each forwarded leaf was read back, equal or as its line declares; no value
    of the request is without a source; all faults of the reading are differences.
    """
    document = bundle.documents[request.document]
    found: dict[str, list[ReadBack]] = {}
    for value in reading.values:
        found.setdefault(value.path, []).append(value)
    comparison = _Comparison(facts, found)
    comparison.differences += [
        Difference(fault.path, fault.detail, "", None, None, fault.rule) for fault in reading.faults
    ]
    hub = {value.source[4:]: value.written for value in reading.values if value.source.startswith("hub:")}
    scope = _scope(request, facts, bundle, hub)
    for expected in _below(document.root, scope, document.root.name):
        _compare(comparison, expected)
    for values in found.values():
        for value in values:
            detail = f"{value.source} has no such value here"
            comparison.differences.append(Difference(value.path, detail, "", None, value.written, value.rule))
    _check_covered(comparison, request)
    return comparison.differences


def _compare(comparison: _Comparison, expected: _Expected) -> None:
    backs = comparison.found.pop(expected.path, [])
    comparison.covered.update(expected.value.leaves)
    origin = expected.value.origin
    if not backs:
        comparison.differ(expected, f"{origin} is not in the request", None)
        return
    found = None if backs[0].text is None else "".join(str(back.text) for back in backs)
    if backs[0].written != expected.put:
        comparison.differ(expected, f"{origin} is put otherwise", backs[0].written)
    elif not _reads_back(expected, backs):
        comparison.differ(expected, f"{origin} is read back otherwise", found)
    elif not is_total(expected.content, expected.value, expected.put, comparison.facts):
        comparison.differ(expected, f"{origin} is not what its values make", backs[0].written)


def _reads_back(expected: _Expected, backs: list[ReadBack]) -> bool:
    """Return whether what was read back is the value, or what the line declares to keep of it."""
    texts = (expected.value.text,) if expected.parts is None else expected.parts
    if len(backs) != len(texts):
        return False
    return all(_same(back, text) for back, text in zip(backs, texts, strict=True))


def _same(back: ReadBack, text: str) -> bool:
    if back.source.startswith("serial:"):
        return True  # the number of an item is one however it is written: 01 is 1
    if back.text is None:
        return back.loss != "exact" or back.source == "const"
    # A date that has lost its time, or a time its zone, is the beginning of what was given.
    return back.text == text or (back.loss == "lossy" and text.startswith(back.text))


def _check_covered(comparison: _Comparison, request: Request) -> None:
    for origin in request.origins:
        for leaf in origin.leaves:
            if leaf not in comparison.covered:
                lost = comparison.facts.leaves[leaf]
                detail = f"{origin.source} was forwarded and is not read back"
                comparison.differences.append(
                    Difference(origin.target, detail, lost.pointer, lost.value, None, origin.rule)
                )
                comparison.covered.add(leaf)


def _scope(request: Request, facts: Facts, bundle: Bundle, hub: dict[str, str]) -> Scope:
    document = bundle.documents[request.document]
    application = next((one for one in facts.applications if one.get("id") == request.application), None)
    if application is None:
        raise GatewayError(OUR_MISTAKE, "the request is of another submission", request.application[:70])
    trace = Trace(document.id)
    answers = read_answers(facts, document, bundle, trace, application)
    return Scope(facts, bundle.dictionary, answers, trace, request.application, request.items, hub)


def _below(target: Target, scope: Scope, path: str) -> Iterator[_Expected]:
    """Yield every value that the lines below `target` should have written for `scope`."""
    for put in target.attributes:
        yield from _own_attribute(put, scope, path)
    for child in target.children:
        here = f"{path}/{child.name}{child.predicates}"
        if (child.part is not None and child.part.number > 0) or (
            child.when is not None and not child.when.holds(scope)
        ):
            continue
        if child.content is not None:
            yield from _leaf(child, child.content, scope, here)
        elif child.each is None:
            # What tells elements of one name apart stands only beside something else.
            told = {f"{here}/{name}" for name, _ in child.siblings}
            inside = list(_below(child, scope, here))
            yield from inside if {one.path for one in inside} - told else ()
        else:
            for position, inner in enumerate(_occurrences(child.each, scope), 1):
                yield from _below(child, inner, f"{here}[{position}]")


def _occurrences(each: Each, scope: Scope) -> list[Scope]:
    if each.over == "distinct" and each.key is not None:
        scopes = scope.into_groups(each.key, each.mark)
    elif each.ask is not None:
        scopes = scope.into_asked(each.ask)
    else:
        scopes = scope.into_common(each.group) if each.over == "common" else scope.into_items()
    return scopes if each.when is None else [inner for inner in scopes if each.when.holds(inner)]


def _leaf(target: Target, content: Converted, scope: Scope, path: str) -> Iterator[_Expected]:
    pairs = [(value, made) for value, made in _put(content, scope, target.mark) if made is not None]
    parts = _parts(content, scope, target.mark)
    for number, (value, made) in enumerate(pairs, 1):
        here = f"{path}[{number}]" if len(pairs) > 1 else path
        if target.empty:  # an attachment: its element says nothing but that it is there
            yield _Expected(here, value._replace(text=""), "", target.mark)
        else:
            yield _Expected(here, value, made.text, target.mark, content, parts)
        for attribute in target.attributes:
            if attribute.content is not None:
                yield from _own_attribute(attribute, scope, here)
            else:
                yield from _carried(attribute, scope, made, here)


def _put(content: Converted, scope: Scope, rule: Mark) -> Iterator[tuple[Value, Value | None]]:
    """Yield each value of a line with what its steps make of it; None where they leave it out."""
    try:
        values = content.source.values(scope, rule)
    except MisfitError:
        return
    beside = content.beside(scope, rule)
    for value in values:
        made: Value | None = value
        try:
            for step in content.steps:
                made = step.apply(made, beside) if made is not None else None
        except MisfitError:
            made = None
        yield value, made


def _parts(content: Converted, scope: Scope, rule: Mark) -> tuple[str, ...] | None:
    """Return the values that were put together, those that are there; None where nothing was."""
    if not isinstance(content.source, Concat):
        return None
    found = (next(_put(part, scope, rule), None) for part in content.source.parts)
    return tuple(pair[0].text for pair in found if pair is not None and pair[1] is not None)


def _own_attribute(put: AttributePut, scope: Scope, path: str) -> Iterator[_Expected]:
    if put.content is not None:
        value, made = next(_put(put.content, scope, put.mark), (None, None))
        if value is not None and made is not None:
            parts = _parts(put.content, scope, put.mark)
            yield _Expected(f"{path}/@{put.name}", value, made.text, put.mark, put.content, parts)


def _carried(put: AttributePut, scope: Scope, value: Value, path: str) -> Iterator[_Expected]:
    """Yield the unit, currency or content id that belongs to a value, or the unit it was converted to."""
    if put.of_value is None or value.found is None:
        return
    given = value.found.element.get(put.of_value)
    text = put.default if given is None else str(given)
    leaf = scope.facts.attributes.get((value.found.element, put.of_value))
    if put.of_value == "unitCode" and value.unit is not None:
        text, given = value.unit, value.unit
        leaf = next(iter(value.measured[1]), None) if value.measured is not None else None
    if text is not None:
        leaves = () if leaf is None or given is None else (leaf,)
        made = text if put.via is None else put.via.translate(text)
        carried = Value(text, leaves, f"{value.origin}/@{put.of_value}")
        yield _Expected(f"{path}/@{put.name}", carried, made or "", put.mark)
