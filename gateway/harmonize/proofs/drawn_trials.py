"""Trials with drawn submissions of one document: splits them, also with a leaf changed or left out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from gateway.errors import (
    CODE_UNKNOWN,
    FIELD_MISSING,
    RULE_BROKEN,
    SOURCES_DISAGREE,
    VALUE_DOES_NOT_FIT,
    GatewayError,
)
from gateway.harmonize.language import ITEM_PATH, CommonMeaning, DocumentMapping, MappingBundle, UniqueField
from gateway.harmonize.proofs.proof_report import ProofFindings
from gateway.harmonize.proofs.read_scope import ReadScope
from gateway.harmonize.samples import SeededDraws, draw_text, make_sample
from gateway.harmonize.split import (
    DEC,
    AgencyRequest,
    Leaf,
    SplitResult,
    SubmissionIndex,
    descend_declaration,
    make_placeholder_numbers,
    split_submission,
)
from gateway.wire import SUB, SourceMark, parse_xml, serialize_element

OWN_APPLICATION: Final = "A1"
_NEIGHBOUR: Final = "A2"


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """The result of a trial for the tested document: a request, problems, or an error of the gateway."""

    request: AgencyRequest | None
    result: SplitResult | None
    error: GatewayError | None

    @property
    def octets(self) -> bytes | None:
        """Return the request's XML, None where there is none."""
        return None if self.request is None else serialize_element(self.request.xml)


@dataclass(slots=True)
class TrialBench:
    """The state of the trials of one document; `split_count` counts the splits."""

    bundle: MappingBundle
    document: DocumentMapping
    read_scope: ReadScope
    split_count: int = 0
    shown_fields: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def from_bundle(cls, bundle: MappingBundle, document: DocumentMapping) -> TrialBench:
        """Return the bench of a document."""
        return cls(bundle, document, ReadScope.from_document(document, bundle.dictionary))

    def split_root(self, root: etree._Element) -> TrialOutcome:
        """Split a submission and return the outcome."""
        self.split_count += 1
        try:
            result = split_submission(root, self.bundle, make_placeholder_numbers(root))
        except GatewayError as error:
            return TrialOutcome(None, None, error)
        own_requests = [request for request in result.requests if request.application == OWN_APPLICATION]
        return TrialOutcome(own_requests[0] if own_requests else None, result, None)

    def is_first_try(self, kind: str, name: str) -> bool:
        """Return whether this is the first trial of the kind `kind` for `name`."""
        seen = self.shown_fields.setdefault(kind, set())
        if name in seen:
            return False
        seen.add(name)
        return True


@dataclass(frozen=True, slots=True)
class DrawnTrial:
    """One drawn submission and its outcome; the same `seed` and `items` draw it again."""

    seed: str
    items: int
    root: etree._Element
    outcome: TrialOutcome

    @classmethod
    def draw_trial(cls, bench: TrialBench, seed: str, items: int) -> DrawnTrial:
        """Draw a submission and split it; raise `GatewayError` where none can be drawn."""
        root = parse_xml(make_sample(bench.bundle, bench.document, seed, items))
        return cls(seed, items, root, bench.split_root(root))

    @property
    def submission_index(self) -> SubmissionIndex:
        """Return the submission index; it must have been possible to split the submission."""
        assert self.outcome.result is not None
        return self.outcome.result.submission_index

    @property
    def item_numbers(self) -> tuple[str, ...]:
        """Return the goods items that the application concerns."""
        return self.outcome.request.items if self.outcome.request is not None else ()

    def describe_change(self, leaf: Leaf, change: str) -> str:
        """Return the text of a counter-example: the drawn submission, the leaf, and its change."""
        return f"{self.describe_trial()}: {leaf.pointer} {change}"

    def describe_trial(self) -> str:
        """Return the text that identifies the drawn submission."""
        return f"seed {self.seed}, {self.items} items"


@contextmanager
def change_leaf(leaf: Leaf, value: str) -> Iterator[None]:
    """Give the leaf another value while the context is active."""
    old = leaf.value
    set_leaf_text(leaf, value)
    try:
        yield
    finally:
        set_leaf_text(leaf, old)


def set_leaf_text(leaf: Leaf, value: str) -> None:
    """Set the text of a leaf: that of its element, or of its attribute."""
    if leaf.attribute is None:
        leaf.element.text = value
    else:
        leaf.element.set(leaf.attribute, value)


@contextmanager
def remove_node(element: etree._Element, attribute: str | None) -> Iterator[None]:
    """Remove an element, or one attribute of it, while the context is active."""
    if attribute is not None:
        old = str(element.get(attribute))
        del element.attrib[attribute]
        try:
            yield
        finally:
            element.set(attribute, old)
        return
    parent = element.getparent()
    assert parent is not None
    index, tail = parent.index(element), element.tail
    parent.remove(element)
    try:
        yield
    finally:
        parent.insert(index, element)
        element.tail = tail


def list_other_values(bench: TrialBench, leaf: Leaf, seed: str) -> Iterator[str]:
    """Yield values that differ from the leaf's own, those of its shape first."""
    source = bench.read_scope.find_field(leaf)
    draws = SeededDraws(f"{seed}/{leaf.pointer}")
    if source is not None:
        kind = source.shape
        if leaf.attribute is not None:
            units = getattr(source, "units", ())
            yield from (unit for unit in units if unit != leaf.value)
            kind = getattr(source, "attribute_shape", kind)
        elif isinstance(source, CommonMeaning) and source.type == "datetime" and not source.supplement:
            yield _make_other_moment(leaf.value)
        else:
            yield from (text for _ in range(3) if (text := draw_text(draws, kind)) != leaf.value)
    yield _make_near_value(leaf.value)


def _make_other_moment(text: str) -> str:
    return ("20230517" if not text.startswith("20230517") else "20220616") + text[8:]


def _make_near_value(value: str) -> str:
    """Return another value near `value`: another last digit, or a letter added."""
    if value[-1:].isdigit():
        return value[:-1] + ("7" if value[-1] != "7" else "3")
    return value + "Q"


def add_noise(bench: TrialBench, trial: DrawnTrial) -> etree._Element:
    """Return a copy of the submission with added values that the document does not list.

    Added are every meaning of the dictionary that it neither needs nor reads, elements that
    are in no dictionary, and another application with fields of its own.
    """
    root = copy.deepcopy(trial.root)
    declaration = next(root.iter(f"{{{DEC}}}Declaration"))
    supplement = root.find(f"{{{SUB}}}Supplement")
    item_path = f"{{{DEC}}}" + f"/{{{DEC}}}".join(ITEM_PATH.split("/")[1:])
    items = declaration.findall(item_path)
    for meaning in bench.bundle.dictionary.meanings.values():
        if meaning.path in bench.read_scope.read_paths or meaning.per not in ("header", "item"):
            continue
        if meaning.supplement and supplement is not None:
            _add_supplement(supplement, meaning)
        elif not meaning.supplement and meaning.selector is None:
            for base in items if meaning.per == "item" else [declaration]:
                _add_declared_elements(base, meaning.relative)
    for base in (declaration, *items):
        _add_declared_elements(base, ("Unlisted", "Remark"))
    _add_neighbor_application(bench, root)
    return root


def _add_supplement(supplement: etree._Element, meaning: CommonMeaning) -> None:
    """Add a supplement value of `meaning` with the text `noise`, for item 1 if it is stated per item."""
    value = etree.SubElement(supplement, f"{{{SUB}}}Value", path=meaning.path, wcoID=meaning.wco)
    if meaning.per == "item":
        value.set("item", "1")
    value.text = "noise"


def _add_declared_elements(base: etree._Element, names: tuple[str, ...]) -> None:
    """Add the missing elements of the path `names` below `base`; the last one gets a text if empty."""
    element = descend_declaration(base, names)
    if len(element) == 0 and not (element.text or "").strip():
        element.text = "noise"


def _add_neighbor_application(bench: TrialBench, root: etree._Element) -> None:
    """Add an application for another document to `root`, with fields of the same names as the tested one."""
    names = [name for name in bench.bundle.documents if name != bench.document.id]
    application = etree.SubElement(
        root, f"{{{SUB}}}Application", id=_NEIGHBOUR, document=(names or ["NONE"])[0]
    )
    etree.SubElement(application, f"{{{SUB}}}Items").text = "1"
    fields = etree.SubElement(application, f"{{{SUB}}}Fields")
    for ask in bench.document.asks[:3]:
        etree.SubElement(fields, f"{{{bench.document.namespace}}}{ask.tag}").text = "noise"


def find_culprit(leaves: list[Leaf], differs: Callable[[list[Leaf]], bool]) -> Leaf | None:
    """Return one leaf whose change alone makes a difference, None where several are needed."""
    while len(leaves) > 1:
        half = leaves[: len(leaves) // 2]
        leaves = half if differs(half) else leaves[len(leaves) // 2 :]
    return leaves[0] if leaves and differs(leaves) else None


# A value that is too long, unknown or breaks a rule is an error with a pointer, not a gap.
_JUDGED: Final = (VALUE_DOES_NOT_FIT, CODE_UNKNOWN, RULE_BROKEN, SOURCES_DISAGREE)
_KEYS: Final = ("path", "item", "n", "sequence", "wcoID", "formatCode")


def check_totality_of_trial(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> None:
    """Evaluate a drawn submission, and the same with each leaf left out, once for each name."""
    findings.checked += 1
    if not _check_served(bench, trial, findings):
        return
    for leaf in trial.submission_index.leaves:
        if leaf.application not in (None, 0) or leaf.attribute in _KEYS:
            continue
        for element, attribute, name in _list_omissions(bench, leaf):
            if bench.is_first_try("omit", name):
                findings.checked += 1
                _try_omission(bench, trial, leaf, element, attribute, findings)


def _list_omissions(bench: TrialBench, leaf: Leaf) -> list[tuple[etree._Element, str | None, str]]:
    """Return the nodes that can be left out for a leaf: itself, and the group element around it."""
    source = bench.read_scope.find_field(leaf)
    base = f"{source.name if source is not None else leaf.path}/{leaf.attribute or ''}"
    omissions: list[tuple[etree._Element, str | None, str]] = [(leaf.element, leaf.attribute, base)]
    parent = leaf.element.getparent()
    if isinstance(source, UniqueField) and source.group and parent is not None and leaf.attribute is None:
        omissions.append((parent, None, f"group {source.group}"))
    return omissions


def _check_served(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> bool:
    """Return whether a drawn submission gives a request without problems; report each unexpected problem."""
    outcome, at = trial.outcome, f"seed {trial.seed}, {trial.items} items"
    if outcome.error is not None:
        _report_crash(bench, outcome, at, findings)
        return False
    assert outcome.result is not None
    for trouble in outcome.result.problems:
        if trouble.problem in _JUDGED and trouble.pointer:
            continue
        message = (
            f"a submission that is valid by the mapping is refused: {trouble.problem.id} {trouble.detail}"
        )
        mark = trouble.rule or bench.document.mark
        findings.add_finding(mark, _get_place_name(bench, mark), message, f"{at}: {trouble.pointer}")
    return outcome.request is not None and not outcome.result.problems


def _report_crash(bench: TrialBench, outcome: TrialOutcome, at: str, findings: ProofFindings) -> None:
    """Add the finding that a request was invalid under the schema of its own document."""
    assert outcome.error is not None
    message = f"the request breaks its own schema ({outcome.error.problem.id} {outcome.error.detail[:200]})"
    findings.add_finding(bench.document.mark, outcome.error.location, message, at)


def _get_place_name(bench: TrialBench, mark: SourceMark) -> str:
    """Return the name of the field or target at a place of the mapping."""
    for ask in bench.document.ask_names.values():
        if ask.mark == mark:
            return ask.name
    for target in bench.document.root.walk_elements():
        if target.mark == mark:
            return target.name
    return bench.document.id


def _try_omission(
    bench: TrialBench,
    trial: DrawnTrial,
    leaf: Leaf,
    element: etree._Element,
    attribute: str | None,
    findings: ProofFindings,
) -> None:
    """Split the submission without `element`, or without its `attribute`, which is or holds `leaf`."""
    at = trial.describe_change(
        leaf, "left out" if element is leaf.element else "and the element around it left out"
    )
    with remove_node(element, attribute):
        outcome = bench.split_root(trial.root)
    if outcome.error is not None:
        _report_crash(bench, outcome, at, findings)
        return
    assert outcome.result is not None
    problems = outcome.result.problems
    if problems and not any(trouble.pointer for trouble in problems):
        mark = problems[0].rule or bench.document.mark
        message = f"refused without a pointer: {problems[0].problem.id} {problems[0].detail}"
        findings.add_finding(mark, _get_place_name(bench, mark), message, at)
    if _is_demanded(bench, leaf) and attribute is None and element is leaf.element:
        missing = [t for t in outcome.result.problems if t.problem is FIELD_MISSING]
        if outcome.request is not None or not missing:
            source = bench.read_scope.find_field(leaf)
            name = source.name if source is not None else leaf.path
            message = "mandatory, and its lack is not named (no GW503 with a pointer)"
            findings.add_finding(_get_place_mark(bench, leaf), name, message, at)


def _is_demanded(bench: TrialBench, leaf: Leaf) -> bool:
    """Return whether the mapping requires the leaf: the only value of a mandatory field or meaning."""
    source = bench.read_scope.find_field(leaf)
    if source is None or leaf.value.strip() == "":
        return False
    if isinstance(source, UniqueField):
        return source.requirement.mandatory and source.repeat.high <= 1
    return not source.many and any(n.mandatory and n.meaning is source for n in bench.document.needs)


def _get_place_mark(bench: TrialBench, leaf: Leaf) -> SourceMark:
    """Return the line of the mapping that asks for a leaf or needs it, else that of the document."""
    source = bench.read_scope.find_field(leaf)
    if isinstance(source, UniqueField):
        return source.mark
    return next((n.mark for n in bench.document.needs if n.meaning is source), bench.document.mark)
