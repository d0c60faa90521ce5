"""What a verdict costs, and that it is the verdict of the whole tree however it was found."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from gateway.cases import validate_document
from gateway.share import get_data_folder
from gateway.wire import (
    DS,
    SUBMISSION,
    SchemaSet,
    compile_schema,
    load_shipped_schemas,
    parse_xml,
    schema_error_messages,
    schema_validation,
    serialize_element,
)
from tests.kit.levels import at_night
from tests.kit.paths import ROOT
from tests.wire.invalid_submissions import KINDS, fields, submission

MANY = 100_000
SIGNED = f"<s:Signature xmlns:s='{DS}'>{{}}</s:Signature>"
SAME, OTHER = "<x xmlns='urn:q' xml:id='a'/>", "<x xmlns='urn:q' xml:id='b{}'/>"
KEYS = """<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'><xs:element name='r'><xs:complexType>
<xs:sequence><xs:element name='k' maxOccurs='unbounded'><xs:complexType><xs:attribute name='a'/>
</xs:complexType></xs:element><xs:element name='f' minOccurs='0' maxOccurs='unbounded'><xs:complexType>
<xs:attribute name='a'/></xs:complexType></xs:element></xs:sequence></xs:complexType>
<xs:key name='k'><xs:selector xpath='k'/><xs:field xpath='@a'/></xs:key>
<xs:keyref name='f' refer='k'><xs:selector xpath='f'/><xs:field xpath='@a'/></xs:keyref>
</xs:element></xs:schema>"""


class Worded(etree.PyErrorLog):
    """Counts what libxml2 words: each violation costs a walk over the siblings before it."""

    count = 0

    def receive(self, _entry: object) -> None:
        """Count one."""
        self.count += 1


def main(kind: str) -> None:
    """Judge a document of many violations of the kind; print how many were worded and told."""
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))  # else a wrong program would run for an hour
    worded = Worded()
    etree.use_global_python_log(worded)
    root = submission(KINDS[kind](MANY))
    assert root.xpath("count(//*)") > MANY / 10
    before = worded.count
    accepted, remarks = validate_document(root, load_shipped_schemas(SUBMISSION))
    told = sum(len(one.message) + len(one.xpath) + len(one.pointer) for one in remarks)
    print(accepted, worded.count - before, len(remarks), told)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["unique", *at_night(*(kind for kind in KINDS if kind != "unique"))])
def test_of_very_many_violations_few_are_worded_and_few_are_told(kind: str) -> None:
    words = (sys.executable, "-m", "tests.wire.test_schema_validation", kind)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    accepted, worded, remarks, told = done.stdout.split()
    assert accepted == "False"
    assert int(worded) < 20_000
    assert 0 < int(remarks) <= 50
    assert int(told) < 100_000


@pytest.mark.long
def test_the_count_is_that_of_the_violations_when_nothing_bounds_them() -> None:
    script = (
        "from tests.wire.test_schema_validation import *\n"
        "worded = Worded()\netree.use_global_python_log(worded)\n"
        "load_shipped_schemas(SUBMISSION)._schema.validate(submission(KINDS['siblings'](3000)))\nprint(worded.count)"
    )
    words = (sys.executable, "-c", script)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) >= 3_000


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [240, *at_night(2_400)])
def test_each_kind_is_refused_by_the_tree_and_by_us(name: str, count: int) -> None:
    octets = serialize_element(submission(KINDS[name](count)))
    assert not load_shipped_schemas(SUBMISSION)._schema.validate(parse_xml(octets))
    assert not load_shipped_schemas(SUBMISSION).is_valid(parse_xml(octets))


@pytest.mark.long
@pytest.mark.parametrize(
    ("content", "good"),
    [
        ("".join(OTHER.format(number) for number in range(3_000)), True),
        (SIGNED.format(SAME * 3_000), True),  # below a wildcard that skips nothing is an xs:ID
        (SIGNED.format(SAME * 3_000) + SAME, True),
        (SIGNED.format(SAME * 3_000) + SAME + SAME, False),
        (SAME + SIGNED.format(SAME * 3_000) + SAME, False),
        ("".join(OTHER.format(number) for number in range(3_000)) + OTHER.format(7), False),
        (SAME * 60 + "".join(OTHER.format(number) for number in range(3_000)), False),
        ("<x xmlns='urn:q' xml:id='a'/><x xmlns='urn:q' xml:id=' a '/>" * 100 + "<x/>" * 2_000, False),
        ("<x xmlns='urn:q' Id='a'/>" * 3_000, True),  # no schema here says that it is an identifier
        ("<x xmlns='relative'/>" * 3_000, True),
    ],
)
def test_identifiers_that_stand_twice_are_what_they_are_in_the_tree(content: str, good: bool) -> None:
    octets = serialize_element(submission(fields(content)))
    assert load_shipped_schemas(SUBMISSION)._schema.validate(parse_xml(octets)) is good
    assert load_shipped_schemas(SUBMISSION).is_valid(parse_xml(octets)) is good


@pytest.mark.long
@pytest.mark.parametrize(
    ("keys", "referring", "good"),
    [
        (range(30_000), range(30_000), True),
        (range(30_000), range(1, 30_001), False),
        ([*range(30_000), 7], range(30_000), False),
        ([1] * 30_000, [1], False),
    ],
)
def test_keys_and_what_refers_to_them(keys: range, referring: range, good: bool) -> None:
    schema = compile_schema(KEYS.encode())
    inner = "".join(f"<k a='{key}'/>" for key in keys) + "".join(f"<f a='{key}'/>" for key in referring)
    reason = schema_validation.find_violation(schema, parse_xml(f"<r>{inner}</r>".encode()))
    assert (reason is None) is good
    assert reason is None or "key-sequence" in reason.message


def test_a_larger_document_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    root = submission(KINDS["values"](3_000))
    found = SchemaSet.load_cached(get_data_folder("xsd"), SUBMISSION).list_violations(root)
    assert len(found) == 50
    assert found[0].xpath.endswith("/sub:Value[1]")
    # Where the part that is looked at shows nothing, what libxml2 says is told.
    monkeypatch.setattr(schema_error_messages, "_MAX_ELEMENTS", 5)
    (only,) = load_shipped_schemas(SUBMISSION).list_violations(root)
    assert "Value" in only.message


def test_the_explanation_ends_with_the_last_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    append = schema_error_messages._ViolationList.append
    monkeypatch.setattr(
        schema_error_messages._ViolationList,
        "append",
        lambda found, error: (kept.append(error), append(found, error)),
    )
    assert len(load_shipped_schemas(SUBMISSION).list_violations(submission(KINDS["siblings"](3_000)))) == 50
    assert len(kept) == 50


@pytest.mark.night
def test_the_explanation_looks_at_so_many_elements_only(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    budget = schema_error_messages._ElementBudget.__call__
    monkeypatch.setattr(
        schema_error_messages._ElementBudget,
        "__call__",
        lambda own, *given: (begun.append(1), budget(own, *given))[1],
    )
    root = submission("<Supplement/>" + fields("<x xmlns='urn:q'/>" * 30_000) + "<Unknown/>")
    (only,) = load_shipped_schemas(SUBMISSION).list_violations(root)
    assert "Unknown" in only.message
    assert len(begun) == 20_001


@pytest.mark.parametrize(("octets", "counted"), [(None, 2), (8_000, 0), (8_001, 2)])
def test_in_a_document_of_few_octets_nothing_is_counted(
    octets: int | None, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[etree._Element] = []

    def count(root: etree._Element) -> float:
        asked.append(root)
        return 0.0

    monkeypatch.setattr(schema_validation, "_COUNT_NODES", count)
    schema, root = compile_schema(KEYS.encode()), etree.fromstring("<r><k a='1'/><f a='2'/></r>")
    found = schema_validation.find_violation(schema, root, octet_count=octets)
    assert found is not None
    assert "keyref" in found.message
    assert len(asked) == counted


@pytest.mark.long
@pytest.mark.vectors
def test_any_document_is_judged_in_pieces_as_in_a_tree(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    from tests.xsd.mutations import MUTATIONS, mutant
    from tests.xsd.oracle import ours, samples, unwrapped

    monkeypatch.setattr(schema_validation, "_MAX_TREE_NODES", -1)
    monkeypatch.setattr(schema_validation, "_PIECE_OCTETS", 700)
    rng, verdicts = random.Random(20261120), []
    bases = [unwrapped(sample.root) for sample in samples(vectors)]
    damaged = [mutant(rng, list(MUTATIONS)[n % len(MUTATIONS)], rng.choice(bases)) for n in range(2_000)]
    for root in [*bases, *damaged]:
        octets = serialize_element(root)
        read = etree.fromstring(octets)
        verdicts.append(bool(ours().validate(read)))
        assert (schema_validation._find_streamed_violation(read, ours()) is None) == verdicts[-1]
        assert (schema_validation.find_violation(ours(), etree.fromstring(octets)) is None) == verdicts[-1]
    assert 500 < sum(verdicts) < len(verdicts) - 500


if __name__ == "__main__":
    main(sys.argv[1])
