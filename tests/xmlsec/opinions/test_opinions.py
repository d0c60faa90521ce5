"""A sample of second opinions; ``python -m tests.xmlsec.opinions`` takes as many as one likes."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

import pytest
import xmlsec

from gateway.wire import DS
from tests.kit.paths import MANUAL
from tests.xmlsec.opinions import rules, trials, voices
from tests.xmlsec.opinions.__main__ import figures
from tests.xmlsec.opinions.change import CHANGES
from tests.xmlsec.opinions.messages import Message, own
from tests.xmlsec.opinions.trials import COLUMNS
from tests.xmlsec.opinions.voices import VOICES, Opinion

pytestmark = pytest.mark.vectors


@pytest.mark.long
def test_a_sample_holds_no_disagreement_that_nobody_can_explain() -> None:
    told = figures(6 * len(CHANGES), seed=20261120)
    assert told["unexplained"] == []
    sums = {column: sum(row[column] for row in told["table"].values()) for column in COLUMNS}
    assert sums["all valid"] > 30
    assert sums["all invalid"] > 100
    assert set(told["table"]) == set(CHANGES)
    for change, row in told["table"].items():
        if change.startswith("same: "):
            assert row["all valid"] + row["we accept, others refuse"] == sum(row.values()), change


def test_where_we_accept_alone_it_is_by_the_limits_of_others() -> None:
    told = figures(len(CHANGES) * 2, seed=3)
    alone = {"signxml-no-xpath", "signxml-context", "signxml-comments", "relative-elsewhere"}
    for rule in told["rules"]:
        ours = [pair for pair in rule["accepting_refusing"] if pair.startswith(("profile", "any"))]
        assert not ours or rule["id"] in alone


@pytest.mark.parametrize("message", own()[::5], ids=lambda one: one.profile)
def test_unchanged_all_but_signxml_accept(message: Message) -> None:
    said = {name: ask(message) for name, ask in VOICES.items()}
    assert [name for name, one in said.items() if one and not one.accepted] in ([], ["signxml"]), said


def example() -> Message:
    return next(one for one in own() if one.profile == "xades")


@pytest.mark.parametrize("voice", ["any", "profile"])
def test_a_verifier_that_takes_everything_is_found_out(monkeypatch: pytest.MonkeyPatch, voice: str) -> None:
    monkeypatch.setitem(VOICES, voice, lambda _message: Opinion(True))
    changed = replace(example(), xml=example().xml.replace(b"R-1", b"R-2"))
    assert trials.trial(0, "text", changed).column == "unexplained"


def test_a_verifier_that_refuses_what_is_right_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VOICES, "any", lambda _message: Opinion(False, "GW202 the signature value is wrong"))
    assert trials.trial(0, "same", example()).column == "unexplained"


def test_a_profile_that_accepts_more_than_the_judge_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VOICES, "any", lambda _message: Opinion(False, "GW203 not covered"))
    assert trials.trial(0, "same", example()).column == "unexplained"


@pytest.mark.parametrize(
    "reason",
    [
        "GW202 the signature value is wrong",
        "GW202 the digest of reference '#a1' is wrong",
        "GW202 something new",
    ],
)
def test_what_is_wrong_by_computation_is_explained_by_no_rule_of_ours(reason: str) -> None:
    for theirs in ("xmlsec", "signxml"):
        opinions = {"any": Opinion(False, reason), theirs: Opinion(True)}
        assert rules.explain(example(), "any", theirs, opinions) is None


def test_every_rule_stands_in_the_manual() -> None:
    ids = [rule.id for rule in rules.RULES]
    assert len(set(ids)) == len(ids)
    page = (MANUAL / "second-opinions.md").read_text()
    for rule in rules.RULES:
        assert f"| `{rule.id}` | {rule.words} | " in page
    told = re.findall(r"^\| `([\w-]+)` \| .* \| [\d,]+ \| [\d,]+ \|$", page, re.MULTILINE)
    assert told == ids


@pytest.mark.parametrize(
    "name", ["identifier: content wrapped, another in its place", "part: added", "signature: a second one"]
)
def test_what_others_cannot_know_the_profile_refuses(name: str) -> None:
    """Not every part signed, or another read than was signed: others see a good signature."""
    random = Random(11)
    tried = others = 0
    for message in own():
        changed = CHANGES[name](random, message) if message.profile != "plain" else None
        if changed is None:
            continue
        tried += 1
        said = trials.trial(tried, name, changed)
        assert not said.opinions["profile"].accepted, said
        others += said.opinions["xmlsec"].accepted
    assert tried > 10
    assert others > 2


def test_second_opinions_open_nothing_but_parts() -> None:
    """With our callbacks in place libxmlsec1 has no other way to a file or an address."""
    message = next(one for one in own() if one.profile == "plain" and b'URI="#a1"' in one.xml)
    for uri in ("file:///etc/hostname", "http://127.0.0.1:9/"):
        changed = message.xml.replace(b'URI="#a1"', f'URI="{uri}"'.encode())
        assert not voices.ask_xmlsec(replace(message, xml=changed)).accepted
    assert xmlsec.get_libxmlsec_version() >= (1, 3, 9)


def test_changes_are_drawn_by_the_seed() -> None:
    seeds = own()
    for name in ("text: a character changed", "signature: moved", "transform: exchanged"):
        one, other = (CHANGES[name](Random(5), seeds[0]) for _ in range(2))
        assert one == other
        assert one is not None
        assert one.xml != seeds[0].xml
        assert DS.encode() in one.xml
