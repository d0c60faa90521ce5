"""What a verdict costs, and that it is the verdict of the whole tree however it was found."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from gateway.cases.documents import judge
from gateway.share import folder
from gateway.wire import explaining, judging
from gateway.wire.compiling import compile_schema
from gateway.wire.namespaces import DS
from gateway.wire.schemas import SchemaSet
from gateway.wire.shipped import SUBMISSION, schemas
from gateway.wire.xml import parse_xml, serialize
from tests.conftest import ROOT
from tests.unit.wire.violations import KINDS, fields, submission

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
    accepted, remarks = judge(root, schemas(SUBMISSION))
    told = sum(len(one.message) + len(one.xpath) + len(one.pointer) for one in remarks)
    print(accepted, worded.count - before, len(remarks), told)


@pytest.mark.parametrize("kind", KINDS)
def test_of_very_many_violations_few_are_worded_and_few_are_told(kind: str) -> None:
    words = (sys.executable, "-m", "tests.unit.wire.test_judging", kind)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    accepted, worded, remarks, told = done.stdout.split()
    assert accepted == "False"
    assert int(worded) < 20_000
    assert 0 < int(remarks) <= 50
    assert int(told) < 100_000


def test_the_count_is_that_of_the_violations_when_nothing_bounds_them() -> None:
    script = (
        "from tests.unit.wire.test_judging import *\nworded = Worded()\netree.use_global_python_log(worded)\n"
        "schemas(SUBMISSION)._schema.validate(submission(KINDS['siblings'](3000)))\nprint(worded.count)"
    )
    words = (sys.executable, "-c", script)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) >= 3_000


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [240, 2_400])
def test_each_kind_is_refused_by_the_tree_and_by_us(name: str, count: int) -> None:
    octets = serialize(submission(KINDS[name](count)))
    assert not schemas(SUBMISSION)._schema.validate(parse_xml(octets))
    assert not schemas(SUBMISSION).accepts(parse_xml(octets))


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
    octets = serialize(submission(fields(content)))
    assert schemas(SUBMISSION)._schema.validate(parse_xml(octets)) is good
    assert schemas(SUBMISSION).accepts(parse_xml(octets)) is good


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
    reason = judging.refusal(schema, parse_xml(f"<r>{inner}</r>".encode()))
    assert (reason is None) is good
    assert reason is None or "key-sequence" in reason.message


def test_a_larger_document_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    root = submission(KINDS["values"](3_000))
    found = SchemaSet.load(folder("xsd"), SUBMISSION).violations(root)
    assert len(found) == 50
    assert found[0].xpath.endswith("/sub:Value[1]")
    # Where the part that is looked at shows nothing, what libxml2 says is told.
    monkeypatch.setattr(explaining, "_MOST_ELEMENTS", 5)
    (only,) = schemas(SUBMISSION).violations(root)
    assert "Value" in only.message


def test_the_explanation_ends_with_the_last_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    append = explaining._Found.append
    monkeypatch.setattr(
        explaining._Found, "append", lambda found, error: (kept.append(error), append(found, error))
    )
    assert len(schemas(SUBMISSION).violations(submission(KINDS["siblings"](3_000)))) == 50
    assert len(kept) == 50


def test_the_explanation_looks_at_so_many_elements_only(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    budget = explaining._Budget.__call__
    monkeypatch.setattr(
        explaining._Budget, "__call__", lambda own, *given: (begun.append(1), budget(own, *given))[1]
    )
    root = submission("<Supplement/>" + fields("<x xmlns='urn:q'/>" * 30_000) + "<Unknown/>")
    (only,) = schemas(SUBMISSION).violations(root)
    assert "Unknown" in only.message
    assert len(begun) == 20_001


@pytest.mark.vectors
def test_any_document_is_judged_in_pieces_as_in_a_tree(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    from tests.schemas.mutations import MUTATIONS, mutant
    from tests.schemas.oracle import ours, samples, unwrapped

    monkeypatch.setattr(judging, "_FEW", -1)
    monkeypatch.setattr(judging, "_PIECE", 700)
    rng, verdicts = random.Random(20261120), []
    bases = [unwrapped(sample.root) for sample in samples(vectors)]
    damaged = [mutant(rng, list(MUTATIONS)[n % len(MUTATIONS)], rng.choice(bases)) for n in range(2_000)]
    for root in [*bases, *damaged]:
        octets = serialize(root)
        verdicts.append(bool(ours().validate(etree.fromstring(octets))))
        assert (judging._found_in(octets, ours()) is None) == verdicts[-1]
        assert (judging.refusal(ours(), etree.fromstring(octets)) is None) == verdicts[-1]
    assert 500 < sum(verdicts) < len(verdicts) - 500


if __name__ == "__main__":
    main(sys.argv[1])
