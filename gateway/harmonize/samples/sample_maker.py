"""Makes a valid random submission with one application of a document, from its mapping alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.language import (
    ITEM_PATH,
    NEVER_HOLDS,
    CommonMeaning,
    DocumentMapping,
    MappingBundle,
    MeaningNeed,
    UniqueField,
    describe_unreachable_bound,
    walk_fields,
)
from gateway.harmonize.samples.sample_draft import SampleDraft, SeededDraws, order_fields, reads_any_of
from gateway.harmonize.samples.sample_tuning import tune_draft
from gateway.harmonize.samples.sample_xml import (
    GroupOccurrence,
    put_declared_text,
    write_declaration,
    write_supplement,
)
from gateway.harmonize.samples.target_demands import collect_demands
from gateway.harmonize.split import find_broken_rules, make_placeholder_numbers, split_submission
from gateway.wire import SUB, MarkedError, SourceMark

_ATTEMPTS: Final = 60
#: The samples that are tried in any case; more are tried unless a check never holds, or they were large.
_FEW_ATTEMPTS: Final = 5
_MOST_ELEMENTS: Final = 100_000
_MAX_VALUES: Final = 3
_FUNCTION: Final = "Declaration/FunctionCode"
_ITEM_COUNT: Final = "Declaration/GoodsItemQuantity"
_REFERENCE: Final = "Declaration/FunctionalReferenceID"


@dataclass(slots=True)
class _SampleMaker:
    """The state of one sample: the goods items that the application concerns, and others.

    `fixed_texts` are the texts of the declaration that are not drawn, by path.
    """

    bundle: MappingBundle
    document: DocumentMapping
    draws: SeededDraws
    draft: SampleDraft
    numbers: list[str]
    others: list[str]
    attachments: list[tuple[str, str, str]] = field(default_factory=list)
    fixed_texts: Mapping[str, str] = field(default_factory=dict)


def make_sample(bundle: MappingBundle, document: DocumentMapping, seed: str, items: int) -> bytes:
    """Return a submission as XML: one application of `document` for `items` goods items.

    The draws observe most rules; a submission that breaks one is drawn again.  Raise GW901
    where no valid submission is found.
    """
    return write_sample(draw_sample(bundle, document, seed, items, {}))


def write_sample(root: etree._Element) -> bytes:
    """Return a drawn submission as an indented XML document."""
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"


def draw_sample(
    bundle: MappingBundle,
    document: DocumentMapping,
    seed: str,
    items: int,
    fixed_texts: Mapping[str, str],
    received: datetime | None = None,
) -> etree._Element:
    """Return a valid submission of `items` goods items; `seed` determines the drawn values.

    `fixed_texts` gives texts of the declaration by path, which are not drawn. With `received`, the
    rules about the day of receipt hold too. Raises GW502 for a check that no values satisfy, if this check
    breaks every submission that is tried, and GW901 where no valid submission is found for another reason.
    """
    first_problem, written = "", 0
    never = _list_checks_without_values(document)
    unsatisfiable_checks = frozenset(never)
    for attempt in range(_ATTEMPTS):
        drawn = f"{seed}/{attempt}" if attempt else seed
        root = _make_submission(bundle, document, drawn, items, fixed_texts, unsatisfiable_checks)
        problems = split_submission(root, bundle, make_placeholder_numbers(root)).problems
        broken = problems or find_broken_rules(root, bundle, received)
        if not broken:
            return root
        first_problem = first_problem or f"{broken[0].detail} at {broken[0].pointer}"
        never = {
            mark: error for mark, error in never.items() if any(problem.rule == mark for problem in problems)
        }
        written += sum(1 for _ in root.iter())
        if attempt + 1 >= _FEW_ATTEMPTS and (never or written > _MOST_ELEMENTS):
            break
    for error in never.values():
        raise error
    raise GatewayError(OUR_MISTAKE, f"no valid sample of {document.id} found: {first_problem}", document.id)


def _list_checks_without_values(document: DocumentMapping) -> dict[SourceMark, MarkedError]:
    """Return the error of each check that no values satisfy, by the place of the check."""
    explained = ((check, describe_unreachable_bound(check, document)) for check in document.checks)
    return {
        check.mark: MarkedError(check.mark, check.id, f"{NEVER_HOLDS}: {explanation}", "totality")
        for check, explanation in explained
        if explanation is not None
    }


def _make_submission(
    bundle: MappingBundle,
    document: DocumentMapping,
    seed: str,
    items: int,
    fixed_texts: Mapping[str, str],
    unsatisfiable_checks: frozenset[SourceMark],
) -> etree._Element:
    """Return one drawn submission, which may break rules.

    `fixed_texts` are texts of the declaration by path that are not drawn; `unsatisfiable_checks` are the
    positions of checks that no values satisfy.
    """
    draws = SeededDraws(f"{document.id}/{seed}")
    numbers = [str(number) for number in range(1, items + 1)]
    others = [str(items + 1)] if items < 999 and draws.draw_chance(40) else []
    demands = collect_demands(document, bundle.dictionary.groups, unsatisfiable_checks)
    draft = SampleDraft(bundle, document, draws, demands, frozenset(numbers))
    maker = _SampleMaker(bundle, document, draws, draft, numbers, others, fixed_texts=fixed_texts)
    _draw_needs(maker, [need for need in document.needs if need.when is None])
    occurrences = _draw_groups(maker)
    fields = _draw_fields(maker)
    _draw_needs(maker, [need for need in document.needs if need.when is not None])
    tune_draft(draft)
    _write_answers(draft)
    root = etree.Element(f"{{{SUB}}}Submission", nsmap=_make_default_namespace(SUB), version="1")
    reference = fixed_texts.get(_REFERENCE) or next(
        (text for meaning, text in _list_stated_meanings(maker) if meaning.path == _REFERENCE),
        draws.draw_code(12),
    )
    etree.SubElement(root, f"{{{SUB}}}Reference").text = reference
    etree.SubElement(root, f"{{{SUB}}}Function").text = "9"
    write_declaration(draft, root, [*numbers, *others], occurrences)
    write_supplement(draft, root)
    application = etree.SubElement(root, f"{{{SUB}}}Application", id="A1", document=document.id)
    etree.SubElement(application, f"{{{SUB}}}Items").text = " ".join(numbers)
    application.append(fields)
    for cid, media_type, kind in maker.attachments:
        digest, octets = draws.draw_code(64, "0123456789abcdef"), str(draws.draw_number(1, 900_000))
        names = {"cid": cid, "mediaType": media_type, "sha256": digest, "size": octets, "kind": kind}
        etree.SubElement(application, f"{{{SUB}}}Attachment", names)
    for path, text in fixed_texts.items():
        put_declared_text(root, path, _format_declared_time(text) if path.endswith("DateTime") else text)
    return root


def _format_declared_time(moment: str) -> str:
    """Return an ISO time of UTC as the declaration writes it (format 304)."""
    return f"{re.sub('[-:T]', '', moment[:19])}Z"


def _make_default_namespace(namespace: str) -> Any:
    """Return the nsmap with `namespace` as default; typed as Any, since the lxml stubs do not allow it."""
    return {None: namespace}


def _list_stated_meanings(maker: _SampleMaker) -> Iterator[tuple[CommonMeaning, str]]:
    """Yield the meanings that have been drawn, each with the text of one value."""
    for need in maker.document.needs:
        for value in maker.draft.values.get(need.meaning.key, ()):
            yield need.meaning, value.text


def _draw_needs(maker: _SampleMaker, needs: list[MeaningNeed]) -> None:
    """Draw the meanings that are needed, may be needed or are chosen at random; not those of groups."""
    dictionary = maker.bundle.dictionary
    for need in needs:
        if need.meaning.per in dictionary.groups:
            continue
        per_item = dictionary.is_per_item(need.meaning.per)
        for item in [*maker.numbers, *maker.others] if per_item else [None]:
            maker.draft.item = item
            if need.mandatory or maker.draws.draw_chance(50) or maker.draft.is_satisfied(need.when):
                _draw_need(maker, need, item)
    maker.draft.item = None


def _draw_need(maker: _SampleMaker, need: MeaningNeed, item: str | None) -> None:
    """Draw the values of a needed meaning for `item` (None: for the declaration), or take the fixed one."""
    meaning, fixed_text = need.meaning, _get_fixed_text(maker, need.meaning, item)
    if fixed_text is not None:
        maker.draft.add_value(meaning, fixed_text).is_fixed = True
        return
    # In the declaration it is unknown which of the elements around a value may repeat with it.
    max_count = _MAX_VALUES if meaning.many and meaning.supplement else 1
    for _ in range(maker.draft.draw_count(meaning, 1, max_count)):
        maker.draft.draw_value(meaning, meaning.shape)


def _get_fixed_text(maker: _SampleMaker, meaning: CommonMeaning, item: str | None) -> str | None:
    """Return the value of a meaning that is not drawn but determined, None for all others."""
    if meaning.path == f"{ITEM_PATH}/SequenceNumeric" and item is not None:
        return item
    if meaning.path == _FUNCTION:
        return "9"
    if meaning.path == _ITEM_COUNT:
        return str(len(maker.numbers) + len(maker.others))
    return maker.fixed_texts.get(meaning.path)


def _draw_groups(maker: _SampleMaker) -> list[GroupOccurrence]:
    """Draw the occurrences of the dictionary groups that the document may use, such as containers."""
    dictionary, draft = maker.bundle.dictionary, maker.draft
    occurrences: list[GroupOccurrence] = []
    for group in dictionary.groups.values():
        needs = [
            need
            for need in maker.document.needs
            if group.name in dictionary.list_enclosing_groups(need.meaning.per)
        ]
        for item, group_numbers in (
            _list_enclosing_occurrences(maker, group.per, occurrences) if needs else ()
        ):
            draft.item, draft.occurrence_numbers = item, group_numbers
            for _ in range(draft.draw_count(group, 0, 2)):
                outer = draft.enter_group(group.name)
                occurrences.append(GroupOccurrence(group.name, item, draft.occurrence_numbers))
                for need in needs:
                    if need.meaning.per == group.name and (need.mandatory or maker.draws.draw_chance(80)):
                        draft.draw_value(need.meaning, need.meaning.shape)
                draft.occurrence_numbers = outer
    draft.item, draft.occurrence_numbers = None, {}
    return occurrences


def _list_enclosing_occurrences(
    maker: _SampleMaker, per: str, occurrences: list[GroupOccurrence]
) -> list[tuple[str | None, Mapping[str, int]]]:
    """Return item and group positions of each place that may hold a group with this `per`.

    `per` is `header`, `item` or the name of an outer group.
    """
    if per == "header":
        return [(None, {})]
    if per == "item":
        return [(item, {}) for item in (*maker.numbers, *maker.others)]
    return [
        (occurrence.item, occurrence.occurrence_numbers)
        for occurrence in occurrences
        if occurrence.group == per
    ]


def _draw_fields(maker: _SampleMaker) -> etree._Element:
    """Draw the answers of the applicant: for the whole application, and in each item."""
    fields = etree.Element(f"{{{SUB}}}Fields", nsmap={"f": maker.document.namespace})
    asks = maker.document.asks
    top = [ask for ask in asks if ask.per == "application"]
    per_item = [ask for ask in asks if ask.per == "item"]
    items = [
        etree.Element(f"{{{maker.document.namespace}}}Item", sequence=number) for number in maker.numbers
    ]
    late = [ask for ask in top if reads_any_of(ask, per_item)]
    early = _draw_branch(maker, [ask for ask in top if ask not in late], None)
    for element in items if per_item else ():
        drawn = _draw_branch(maker, per_item, str(element.get("sequence")))
        element.extend(answer for ask in per_item for answer in drawn.get(ask.name, ()))
    drawn = {**early, **_draw_branch(maker, late, None)}
    fields.extend(answer for ask in top for answer in drawn.get(ask.name, ()))
    if per_item:
        fields.extend(items)
    return fields


def _draw_branch(
    maker: _SampleMaker, asks: list[UniqueField], item: str | None
) -> dict[str, list[etree._Element]]:
    """Draw fields with one parent element, first those that conditions read."""
    maker.draft.item = item
    return {ask.name: _draw_field(maker, ask) for ask in order_fields(asks) if _is_wanted(maker, ask)}


def _is_wanted(maker: _SampleMaker, ask: UniqueField) -> bool:
    """Return whether a field is to be given: if it must, never if forbidden, else at random or by a check."""
    requirement = ask.requirement
    if requirement.mandatory or maker.draft.is_satisfied(requirement.when):
        maker.draft.decide_given(ask, preferred=True)
        return True
    if requirement.when is not None and requirement.forbidden_otherwise:
        return False
    return maker.draft.decide_given(
        ask, preferred=maker.draws.draw_chance(50 if requirement.when is None else 30)
    )


def _draw_field(maker: _SampleMaker, ask: UniqueField) -> list[etree._Element]:
    """Return the drawn elements of a field, as many as its limits and checks allow."""
    number = maker.draft.draw_count(ask, max(ask.repeat.low, 1), ask.repeat.high)
    tag = f"{{{maker.document.namespace}}}{ask.tag}"
    if ask.type == "group":
        return [_draw_group(maker, ask, etree.Element(tag)) for _ in range(number)]
    return [_draw_value(maker, ask, etree.Element(tag)) for _ in range(number)]


def _draw_group(maker: _SampleMaker, ask: UniqueField, element: etree._Element) -> etree._Element:
    """Draw the fields of a group into `element` and return it."""
    outer = maker.draft.enter_group(ask.name)
    drawn = _draw_branch(maker, list(ask.fields), maker.draft.item)
    element.extend(answer for member in ask.fields for answer in drawn.get(member.name, ()))
    maker.draft.occurrence_numbers = outer
    return element


def _draw_value(maker: _SampleMaker, ask: UniqueField, element: etree._Element) -> etree._Element:
    """Draw the value of a field, or an attachment for it, with the attribute of `element`; return that."""
    if ask.type == "attachment":
        cid = f"{ask.tag}-{len(maker.attachments) + 1}@sample"
        maker.attachments.append((cid, maker.draws.choose_one(ask.mime or ("application/pdf",)), ask.tag))
        element.set("cid", cid)
        maker.draft.add_value(ask, cid)
        return element
    drawn = maker.draft.draw_value(ask, ask.shape)
    drawn.element = element
    if drawn.unit is not None and (ask.fixed_unit is None or maker.draws.draw_chance(50)):
        element.set(ask.attribute or "", drawn.unit)
    return element


def _write_answers(draft: SampleDraft) -> None:
    """Write the answers, which the tuning may have changed, into their elements."""
    for ask in walk_fields(draft.document.asks):
        for drawn in draft.read_all(ask):
            if drawn.element is not None:
                drawn.element.text = drawn.text
                if ask.attribute is not None and drawn.element.get(ask.attribute) is not None:
                    drawn.element.set(ask.attribute, drawn.unit or "")


_DECLARANT: Final = "Declaration/Declarant/ID"
_AGENT: Final = "Declaration/Agent/ID"
_ISSUED: Final = "Declaration/IssueDateTime"
_ENDINGS: Final = {"application/pdf": "pdf", "image/tiff": "tiff", "image/jpeg": "jpeg", "image/png": "png"}


@dataclass(frozen=True, slots=True)
class SampleFiling:
    """The parties, the reference and the time of a sample; the reference has at most 35 characters.

    The agent signs; without an agent the declarant signs.
    """

    declarant: str
    reference: str
    at: datetime
    agent: str = ""


@dataclass(frozen=True, slots=True)
class SampleAttachment:
    """One file that a sample names: its content id, a name for the file, and its octets."""

    content_id: str
    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class SendableSample:
    """A submission as XML, unsigned, with the files that it names."""

    xml: bytes
    attachments: tuple[SampleAttachment, ...]


def make_sendable_sample(
    bundle: MappingBundle, document: DocumentMapping, seed: str, items: int, filing: SampleFiling
) -> SendableSample:
    """Return a sample of one application of `document` for `items` goods items, drawn from `seed`.

    Raises GW901 where no valid submission is found.
    """
    moment = filing.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    agent = filing.agent or filing.declarant
    fixed_texts = {
        _DECLARANT: filing.declarant,
        _AGENT: agent,
        _REFERENCE: filing.reference,
        _ISSUED: moment,
    }
    root = draw_sample(bundle, document, seed, items, fixed_texts, filing.at)
    attachments = tuple(_write_attachments(root))
    return SendableSample(write_sample(root), attachments)


def _write_attachments(root: etree._Element) -> Iterator[SampleAttachment]:
    """Yield a file for each attachment; write its digest and size into the submission."""
    for element in root.iter(f"{{{SUB}}}Attachment"):
        cid, media_type = str(element.get("cid")), str(element.get("mediaType"))
        content = f"%PDF-1.4\n% sample attachment {cid} of type {media_type}\n%%EOF\n".encode()
        element.set("sha256", hashlib.sha256(content).hexdigest())
        element.set("size", str(len(content)))
        ending = _ENDINGS.get(media_type, "bin")
        yield SampleAttachment(cid, f"{cid.partition('@')[0]}.{ending}", content)
