"""Puts a mutant through everything that stands between a mapping and its use, and says what stopped it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import (
    MappingBundle,
    SplitResult,
    generate_schemas,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.language import DocumentMapping, read_code_lists, read_data_dictionary, read_unit_table
from gateway.harmonize.language.bundle_loader import check_accepted_notices
from gateway.harmonize.language.document_reader import read_document_mapping
from gateway.harmonize.proofs import PROOFS, check_bundle, make_fault_finding
from gateway.harmonize.samples import make_sample
from gateway.share import get_data_folder
from gateway.wire import SUB, YamlNode, parse_xml, read_yaml
from tests.harmonize import test_document_facts as lines
from tests.harmonize import test_document_mapping, test_sampled_submissions
from tests.harmonize.mutation.mutants import Mutant, Sheet
from tests.kit.paths import VECTORS

__all__ = ["GOLDEN", "LAYERS", "Court", "Verdict", "golden"]

LAYERS: Final = ("load", *PROOFS, "schema", "facts", "submissions")
GOLDEN: Final = Path(__file__).parent / "golden"
_MAPPINGS: Final = get_data_folder("mappings")
_SAMPLES: Final = 1
_DRAWN: Final = 6
_KEPT: Final = "the request of the valid submission is another"

Found = Iterator[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What stopped a mutant: for each layer that did, its first words; `first` is the first of them."""

    mutant: Mutant
    found: Mapping[str, str]

    @property
    def first(self) -> str:
        """Return the first layer that stopped the mutant, ``alive`` where none did."""
        return next((layer for layer in LAYERS if layer in self.found), "alive")

    @property
    def kept_alone(self) -> bool:
        """Return whether nothing but the request kept from an earlier run tells the mutant."""
        return self.first == "submissions" and self.found["submissions"] == _KEPT


def golden(name: str) -> bytes:
    """Return the request that the valid submission of a document becomes, as it was looked at and kept."""
    return (GOLDEN / f"{name}.xml").read_bytes()


@dataclass(frozen=True, slots=True)
class _Bench:
    """What is the same for all mutants of a document."""

    valid: etree._Element
    golden: bytes
    cases: tuple[tuple[str, etree._Element, frozenset[tuple[str, str]]], ...]
    request: etree.XMLSchema
    fields: etree.XMLSchema


@dataclass
class Court:
    """Judges mutants of the shipped mappings; what they share is read once."""

    bundle: MappingBundle
    sheets: dict[str, Sheet]
    samples: int = _SAMPLES
    facts: bool = True
    benches: dict[str, _Bench] = field(default_factory=dict)

    @classmethod
    def open(cls, samples: int = _SAMPLES) -> Court:
        """Return the court over the shipped mappings."""
        bundle = load_bundle(_MAPPINGS)
        generate_schemas(bundle)
        registry = read_yaml(_read("codelists.yaml"), "codelists.yaml")
        sheets = {}
        for document in bundle.documents.values():
            file = document.mark.file
            tree = read_yaml(_read(file), file)
            sheets[document.id] = Sheet(bundle, document, tree, registry, file)
        return cls(bundle, sheets, samples, VECTORS.is_dir())

    def judge(self, mutant: Mutant) -> Verdict:
        """Return what stops a mutant, each layer with its first words."""
        found: dict[str, str] = {}
        for layer, words in self._judged(mutant):
            found.setdefault(layer, words)
        return Verdict(mutant, found)

    def request_of(self, name: str) -> bytes:
        """Return the request, in canonical XML, that the valid submission of a document becomes now."""
        done, problems = _split(self.bundle, test_sampled_submissions.valid(name))
        assert not problems, problems
        return etree.tostring(done.requests[0].xml, method="c14n")

    def _judged(self, mutant: Mutant) -> Found:
        try:
            bundle = self.load_mutant(mutant)
        except GatewayError as error:
            yield "load", str(error)
            finding = make_fault_finding(error)
            if finding.proof in PROOFS:
                yield finding.proof, finding.message
            return
        for finding in check_bundle(bundle, sample_count=self.samples, only=[mutant.document]).findings:
            yield finding.proof, str(finding)
        for finding in check_bundle(bundle, sample_count=0).findings if mutant.registry else ():
            yield finding.proof, str(finding)  # a list is of all documents
        document = bundle.documents[mutant.document]
        for layer, look in (("schema", self._schema), ("facts", self._facts), ("submissions", self._cases)):
            for words in look(bundle, document):
                yield layer, words

    def load_mutant(self, mutant: Mutant) -> MappingBundle:
        """Return the bundle with the mutant in place of its document; raises GW502."""
        if mutant.registry:
            return _with_registry(mutant.tree)
        bundle = self.bundle
        document = read_document_mapping(
            mutant.tree, bundle.dictionary, bundle.lists, bundle.organisations, bundle.units
        )
        check_accepted_notices(document, bundle.notices)
        of_others = (name for name in bundle.compiled if name.rpartition(":")[2] != mutant.document)
        compiled = {name: bundle.compiled[name] for name in of_others}
        return replace(bundle, documents={**bundle.documents, mutant.document: document}, compiled=compiled)

    def _bench(self, name: str) -> _Bench:
        if name not in self.benches:
            shipped = Path(str(get_data_folder("xsd"))) / "agencies" / self.bundle.documents[name].schema_stem
            schemas = [etree.XMLSchema(file=f"{shipped}{end}.xsd") for end in ("", "-application")]
            valid = test_sampled_submissions.valid(name)
            self.benches[name] = _Bench(valid, golden(name), tuple(_cases(name)), *schemas)
        return self.benches[name]

    def _schema(self, bundle: MappingBundle, document: DocumentMapping) -> Iterator[str]:
        """Yield what the shipped schemas refuse: a request, or fields that the mutant would ask for."""
        bench = self._bench(document.id)
        roots = [bench.valid]
        for number in range(_DRAWN):
            try:
                roots.append(parse_xml(make_sample(bundle, document, f"mutant{number}", 1 + number % 3)))
            except GatewayError as error:
                yield f"nothing can be drawn: {error}"
                return
        for root in roots:
            for fields in root.iterfind(f"{{{SUB}}}Application/{{{SUB}}}Fields"):
                if not bench.fields.validate(fields):
                    yield f"fields: {_first(bench.fields)}"
            for request in _split(bundle, root)[0].requests:
                if not bench.request.validate(request.xml):
                    yield f"request: {_first(bench.request)}"

    def _facts(self, bundle: MappingBundle, document: DocumentMapping) -> Iterator[str]:
        for name, fact in _facts_of(document.id) if self.facts else ():
            try:
                fact(bundle)
            except (AssertionError, KeyError) as error:
                yield f"{name}: {str(error)[:300]}"

    def _cases(self, bundle: MappingBundle, document: DocumentMapping) -> Iterator[str]:
        """Yield each submission in which something else is found than must be, and a request not as kept."""
        bench = self._bench(document.id)
        done, problems = _split(bundle, bench.valid)
        if problems:
            yield f"the valid submission is refused: {sorted(problems)[0]}"
        for name, root, expected in bench.cases:
            done, problems = _split(bundle, root)
            if problems != expected:
                yield f"case {name}: {sorted(problems ^ expected)[0]}"
        done, problems = _split(bundle, bench.valid)
        if not problems and [etree.tostring(one.xml, method="c14n") for one in done.requests] != [
            bench.golden
        ]:
            yield _KEPT


def _split(bundle: MappingBundle, root: etree._Element) -> tuple[SplitResult, frozenset[tuple[str, str]]]:
    """Split a submission; an error of the whole is one problem."""
    try:
        done = split_submission(root, bundle, make_placeholder_numbers(root))
    except GatewayError as error:
        empty: Any = SplitResult((), (), (), "", None)  # type: ignore[arg-type]
        return empty, frozenset({(error.problem.id, error.location)})
    return done, frozenset((trouble.problem.id, trouble.pointer) for trouble in done.problems)


def _cases(name: str) -> Iterator[tuple[str, etree._Element, frozenset[tuple[str, str]]]]:
    """Yield the bad submissions that the mapping judges; what their own schema refuses never comes so far."""
    for case in test_sampled_submissions.cases_of(name):
        root = test_sampled_submissions.made(case)
        try:
            test_sampled_submissions.submission_schema().validate_document(root)
        except GatewayError:
            continue
        yield case.id, root, frozenset(case.problems)


def _facts_of(name: str) -> Iterator[tuple[str, Callable[[MappingBundle], None]]]:
    """Yield the comparisons of a document with what is known of it from outside."""
    tests = test_document_mapping
    of_one: tuple[Callable[[MappingBundle, Path, str], None], ...] = (
        tests.test_every_common_field_of_the_inventory_is_needed_as_there,
        tests.test_every_unique_field_of_the_inventory_is_asked_or_reconciled,
        lines.test_the_head_of_a_document_is_that_of_the_inventory,
        lines.test_every_field_is_bounded_as_in_the_inventory,
        lines.test_a_condition_is_that_of_the_inventory,
        lines.test_a_common_value_in_place_of_a_field_is_as_long_as_the_field,
        lines.test_items_masses_and_shares_are_those_of_the_inventory,
    )
    of_rows: tuple[Callable[[MappingBundle, Path, str, str, int], None], ...] = (
        tests.test_a_verified_document_has_exactly_the_rows_of_its_definition,
        lines.test_every_row_of_the_definition_is_bounded_and_due_as_there,
        lines.test_a_sample_of_a_row_is_a_value_of_its_element,
        lines.test_a_row_that_repeats_has_its_bounds,
    )
    for fact in of_one:
        yield fact.__name__, functools.partial(_of_document, fact, name)
    for edoc, document, number in tests.VERIFIED:
        for row in of_rows if document == name else ():
            yield row.__name__, functools.partial(_of_definition, row, (edoc, name, number))
    yield "needs used", tests.test_every_needed_field_of_a_modelled_document_reaches_the_agency
    yield "asked once", tests.test_no_two_documents_ask_one_meaning_but_declared


def _of_document(fact: Callable[[MappingBundle, Path, str], None], name: str, bundle: MappingBundle) -> None:
    fact(bundle, VECTORS, name)


def _of_definition(
    fact: Callable[[MappingBundle, Path, str, str, int], None],
    row: tuple[str, str, int],
    bundle: MappingBundle,
) -> None:
    fact(bundle, VECTORS, *row)


def _first(schema: etree.XMLSchema) -> str:
    return next((str(entry.message) for entry in schema.error_log), "")  # type: ignore[attr-defined]


def _read(name: str) -> bytes:
    return _MAPPINGS.joinpath(*name.split("/")).read_bytes()


def _with_registry(registry: YamlNode) -> MappingBundle:
    """Return the shipped mappings with other code lists; raises GW502."""
    base = load_bundle(_MAPPINGS)
    lists, units = read_code_lists(registry, _read), read_unit_table(registry, _read)
    dictionary = read_data_dictionary(read_yaml(_read("common.yaml"), "common.yaml"), lists)
    documents = {}
    for document in base.documents.values():
        node = read_yaml(_read(document.mark.file), document.mark.file)
        documents[document.id] = read_document_mapping(node, dictionary, lists, base.organisations, units)
    return replace(base, dictionary=dictionary, lists=lists, documents=documents, units=units, compiled={})
