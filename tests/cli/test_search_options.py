"""What rows are searched for: a text that is composed, and never an empty one (verbs, API, console)."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gateway.cli import main
from gateway.cli.added_verbs import list_verbs
from gateway.cli.shared_options import SEARCH_TEXT
from gateway.cli.verb_groups import load_verb
from gateway.store import make_engine
from gateway.web.api.api_application import OPERATIONS
from tests.kit.api import Api
from tests.kit.console import Console
from tests.kit.databases import Templates
from tests.kit.story import Story

VERBS = list_verbs()

NAME = "Société Ünïon 한국무역"
#: Options that begin with "only", and search no rows; an empty --sender has a meaning of its own.
OTHERS = {
    *("--after", "--pmode", "--document", "--application", "--documents", "--sender", "--only"),
    *("--service", "--action"),
}


def list_search_options() -> Iterator[tuple[str, str]]:
    """Yield each verb and option that says which rows are shown or changed."""
    for words in VERBS:
        for option in load_verb(words).params:
            text = getattr(option, "help", None) or ""
            name = option.opts[0]
            is_text = option.type in (click.STRING, SEARCH_TEXT)
            if is_text and name not in OTHERS and text.startswith(("only", "the whole lane", "every lane")):
                yield words, name


def test_an_empty_text_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A script sends it for a variable without value: it would list, or hold, all or nothing."""
    options = list(list_search_options())
    assert {("case list", "--reference"), ("queue hold", "--lane"), ("audit list", "--who")} <= set(options)
    assert len(options) > 25
    for words, name in options:
        assert main([*words.split(), name, ""]) == 2, (words, name)
        message = capsys.readouterr().err
        assert name in message
        assert "an empty text names nothing" in message, (words, name)


def list_query_names() -> Iterator[tuple[str, str]]:
    for one in OPERATIONS:
        if one.query is not None and not one.public and "{" not in one.path:
            yield from ((one.path, name) for name in one.query.model_fields)


@pytest.fixture
def story(sqlite_url: str) -> Iterator[Story]:
    story = Story(make_engine(sqlite_url))
    yield story
    story.house.engine.dispose()


def test_the_api_refuses_an_empty_parameter(story: Story) -> None:
    client = Api(story.hub).client("broker1")
    names = list(list_query_names())
    assert ("/cases", "reference") in names
    for path, name in names:
        more = "&measure=case_opened" if path == "/statistics" and name != "measure" else ""
        answer = client.get(f"{path.removeprefix('/')}?{name}={more}")
        assert client.problem(answer) == (400, "GW110"), (path, name)
        assert answer.json["location"] == name


@pytest.mark.night
def test_a_field_of_a_page_that_is_left_empty_is_no_condition(story: Story) -> None:
    """A browser sends every field of a form."""
    story.submit()
    story.tick()
    number = story.case().number
    console = Console(story.hub)
    console.add_account("lee", ("party", "broker1"), "viewer")
    console.add_account("kim", ("operator", "operator"), "administrator")
    party, operator = console.enter("lee"), console.enter("kim")
    empty = "reference=&agency=&text=&since=&until=&state=&party="
    assert number in party.get(f"/console/cases?{empty}").text
    assert number in operator.get(f"/console/operations/cases?{empty}").text


def test_a_name_is_stored_composed_and_found_as_it_is_typed(
    tmp_path: Path, templates: Templates, capsys: pytest.CaptureFixture[str]
) -> None:
    templates.fill_home(tmp_path)
    typed = unicodedata.normalize("NFD", NAME)
    assert typed != NAME

    def run(*words: str) -> tuple[int, str]:
        status = main([*words, "--home", str(tmp_path)])
        return status, capsys.readouterr().out

    assert run("party", "add", typed, "--name", typed, "--by", typed)[0] == 0
    for text in (NAME, typed):
        (listed,) = run("party", "list", "--text", text, "--json")[1].splitlines()
        assert (json.loads(listed)["id"], json.loads(listed)["name"]) == (NAME, NAME)
        assert json.loads(run("party", "show", text, "--json")[1])["id"] == NAME
        assert NAME in run("audit", "list", "--who", text)[1]
    assert run("account", "role", "nobody", "--organisation", f"party/{typed}")[0] == 1


@pytest.mark.night
def test_a_name_of_a_form_is_composed(story: Story) -> None:
    console = Console(story.hub)
    console.add_account("head", ("agency", "KPTA"), "head")
    head = console.enter("head")
    typed = unicodedata.normalize("NFD", NAME)
    head.get("/console/people/add")
    fields = {"name": "lee", "display_name": typed, "role": ["officer"], "language": "en"}
    assert head.post("/console/people/add", **fields).status_code == 200
    page = head.get("/console/people").text
    assert NAME in page
    assert typed not in page
