"""Totality: whatever a valid submission says, every mandatory target has a source, or its lack has a pointer.

The guards of each obligation are enumerated (see `valuations`); code lists are tried code by
code.  What remains open text or number is judged at run time, always with a pointer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from gateway.errors import VALUE_DOES_NOT_FIT
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.targets import Each, Target
from gateway.harmonize.language.values import MisfitError
from gateway.harmonize.proofs.layout import Line, conditions_of, containers, lines_of
from gateway.harmonize.proofs.putting import put, settings_of
from gateway.harmonize.proofs.reach import carrier, value_reads
from gateway.harmonize.proofs.report import Findings
from gateway.harmonize.proofs.valuations import TooManyError, Valuation, World
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.conditions import Condition

__all__ = ["prove_totality"]

_MOST_CODES = 5_000
_NUMBERS = ("decimal", "integer")


def prove_totality(document: Document) -> Findings:
    """Return what is wrong with the totality of a document, as far as its text alone tells."""
    findings = Findings("totality")
    lines = list(lines_of(document))
    world = World(document, [condition for condition, _, _ in conditions_of(document)])
    _conditions_can_hold(document, world, findings)
    for ask in document.ask_names.values():
        if ask.type != "group":
            _asked_arrives(ask, [line for line in lines if ask in value_reads(line)], world, findings)
    for line in lines:
        _due_alike(line, world, findings)
        _codes_covered(line, findings)
    for target in containers(document):
        if target.each is not None:
            _bounds_fit(target, target.each, findings)
    for line in lines:
        _values_fit(line, findings)
    return findings


def _tried(
    world: World, conditions: Iterable[Condition], line: tuple[Findings, Line | None, Ask | None]
) -> Iterator[Valuation]:
    """Yield the combinations of an obligation; too many of them are a finding."""
    findings, at, ask = line
    try:
        for valuation in world.combinations(conditions):
            findings.checked += 1
            yield valuation
    except TooManyError as error:
        mark = at.mark if at is not None else ask.mark if ask is not None else None
        assert mark is not None
        name = at.path if at is not None else ask.name if ask is not None else ""
        findings.add(mark, name, "the guards have more combinations than can be tried", str(error))


def _conditions_can_hold(document: Document, world: World, findings: Findings) -> None:
    """Refuse a condition that no valid submission makes true: what it decides about never happens."""
    for condition, mark, name in conditions_of(document):
        findings.checked += 1
        try:
            tried = list(world.combinations([condition]))
        except TooManyError as error:
            findings.add(mark, name, "the guards have more combinations than can be tried", str(error))
            continue
        if not any(condition.holds(valuation) for valuation in tried):
            example = str(tried[-1]) if tried else "no valid submission"
            findings.add(mark, name, "the condition never holds in a valid submission", example)


def _asked_arrives(ask: Ask, lines: list[Line], world: World, findings: Findings) -> None:
    """Refuse a field that must be given in a case in which every line that sends it is shut."""
    if any(not line.conditions for line in lines):
        findings.checked += 1
        return
    when = ask.requirement.when
    conditions = [c for line in lines for c in line.conditions] + ([when] if when is not None else [])
    for valuation in _tried(world, conditions, (findings, None, ask)):
        sent = any(all(c.holds(valuation) for c in line.conditions) for line in lines)
        if world.required(ask, valuation) and not sent and lines:
            message = "must be given and every line that sends it is shut by its condition"
            findings.add(ask.mark, ask.name, message, str(valuation))
            return


def _due_alike(line: Line, world: World, findings: Findings) -> None:
    """Refuse a line whose own condition calls for a field that need not be given then."""
    sources = value_reads(line)
    source = sources[0] if len(sources) == 1 else None
    if line.own is None or not isinstance(source, Ask) or source.requirement.when is None:
        return
    conditions = [*line.conditions, source.requirement.when]
    for valuation in _tried(world, conditions, (findings, line, None)):
        open_now = all(condition.holds(valuation) for condition in line.conditions)
        if open_now and not world.required(source, valuation):
            message = f"the line is due where the field {source.name} ({source.mark}) need not be given"
            findings.add(line.mark, line.path, message, str(valuation))
            return


def _codes_covered(line: Line, findings: Findings) -> None:
    """Refuse a conversion that does not know a code, or a unit, which its source may have."""
    if line.content is None:
        _units_covered(line, findings)
        return
    shape = line.content.source.shape()
    codes = shape.codes if shape.codes is not None else ("1",) if shape.kind in _NUMBERS else ()
    tried = itertools.product(codes, settings_of(line.content)) if line.content.steps else iter(())
    for code, setting in itertools.islice(tried, _MOST_CODES):
        findings.checked += 1
        try:
            written = put(line.content, code, setting)
        except MisfitError as misfit:
            if shape.codes is not None or misfit.problem is not VALUE_DOES_NOT_FIT:
                _uncovered(line, f"{code}{setting}", misfit.detail, findings)
                return
            continue
        plain = line.put is None and line.target.part is None and shape.codes is not None
        refusal = line.target.shape.refuse(written) if written is not None and plain else None
        if refusal is not None:
            example = f"{_read(line)} = {code}{setting}"
            findings.add(line.mark, line.path, f"a code does not fit: {refusal[1]}", example)
            return


def _units_covered(line: Line, findings: Findings) -> None:
    via = line.put.via if line.put is not None else None
    carried = carrier(line)
    if isinstance(carried, Ask) and via is not None:
        for unit in carried.units:
            findings.checked += 1
            if via.translate(unit) is None:
                _uncovered(line, unit, f"{unit!r} is not in the list {via.name}", findings)
                return


def _uncovered(line: Line, code: str, detail: str, findings: Findings) -> None:
    message = f"a code that the field may have is refused ({detail})"
    findings.add(line.mark, line.path, message, f"{_read(line)} = {code}")


def _values_fit(line: Line, findings: Findings) -> None:
    """Refuse a plain code that its target never takes; open text that is too long is GW506 at run time."""
    content = line.content
    if content is None or content.steps or line.target.part is not None or line.put is not None:
        return
    if line.target.empty:
        return
    for code in (content.source.shape().codes or ())[:_MOST_CODES]:
        findings.checked += 1
        refusal = line.target.shape.refuse(code)
        if refusal is not None:
            findings.add(
                line.mark, line.path, f"a code does not fit: {refusal[1]}", f"{_read(line)} = {code}"
            )
            return


def _read(line: Line) -> str:
    return ", ".join(source.name for source in value_reads(line)) or "const"


def _bounds_fit(target: Target, each: Each, findings: Findings) -> None:
    """Refuse bounds of a repetition that a valid submission can leave, below or above."""
    findings.checked += 1
    low, high = each.bound
    if each.over == "item":
        if low > 1:
            findings.add(
                each.mark, target.name, f"at least {low} items are demanded", "an application for 1 item"
            )
        return
    conditional = target.when is not None or each.when is not None
    if each.ask is None:
        # What the declaration must repeat is named when it is missing: GW503 with a pointer.
        return
    ask = each.ask
    least = max(ask.repeat[0], 1) if ask.requirement.mandatory and not conditional else 0
    if low > least:
        findings.add(
            each.mark,
            target.name,
            f"at least {low} are demanded, {ask.name} may have {least}",
            f"{least} × {ask.name}",
        )
    if high < max(ask.repeat[1], 1):
        message = f"at most {high} fit, {ask.name} may be given {ask.repeat[1]} times"
        findings.add(each.mark, target.name, message, f"{ask.repeat[1]} × {ask.name}")
