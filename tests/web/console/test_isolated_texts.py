"""A text with another writing direction stands by itself, wherever a page shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask, Response, render_template_string
from lxml import etree, html
from sqlalchemy import Engine

from gateway.store import make_engine, parties, write_transaction
from gateway.web.console.isolated_texts import isolate_texts, write_isolated_texts
from tests.flows.craft import all_of, reference
from tests.flows.craft import text as set_text
from tests.kit.console import Console
from tests.kit.story import Story, asked
from tests.web.console.test_crawl import PEOPLE, crawl, plant

OVERRIDE = "\u202e"
TURNING = [
    OVERRIDE,
    "\u05d0\u05d1",
    "\u0627\u0628",
    "\u200f",
    "\u2066",
    "\ufdd1\u202e",
    "\U0001e900",
    "\u061c",
    "\ufe8d",
]
#: Here an element is text, or none of the page.
PLAIN = ("title", "textarea", "option", "script", "style", "svg")


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """Pages are the same on each database."""
    made = make_engine(sqlite_url)
    yield made
    made.dispose()


def render(template: str, **values: object) -> str:
    application = Flask("test")
    application.jinja_env.add_extension("jinja2.ext.i18n")
    application.jinja_env.install_gettext_callables(str, lambda one, many, n: many, newstyle=True)  # type: ignore[attr-defined]
    isolate_texts(application.jinja_env)
    application.after_request(write_isolated_texts)
    application.add_url_rule("/", "page", lambda: render_template_string(template, **values))
    return application.test_client().get("/").text


@pytest.mark.parametrize("turning", TURNING, ids=ascii)
def test_a_text_that_turns_is_isolated_in_texts_alone(turning: str) -> None:
    template = """<title>{{ x }}</title><p title="{{ x }}" data-x='{{ x }}'>A {{ x }} b</p>
    <textarea>{{ x }}</textarea><select><option>{{ x }}</option></select>
    <svg><text>{{ x }}</text></svg><i>{{ _("of %(name)s now", name=x) }}</i>
    {{ ngettext("%(num)s of %(name)s", "%(num)s of %(name)s", 2, name=x) }}"""
    page = render(template, x=f"<1{turning}2>")
    shown = turning.replace("\ufdd1", "\ufffd")
    value = f"&lt;1{shown}2&gt;"
    assert page.count(value) == 9
    assert page.count(f"<bdi>{value}</bdi>") == page.count("<bdi>") == page.count("</bdi>") == 3
    assert f"<p title=\"{value}\" data-x='{value}'>A <bdi>{value}</bdi> b</p>" in page
    assert "\ufdd0" not in page
    assert "\ufdd1" not in page


@pytest.mark.parametrize("text", ["abc", "가나다", "\u3000\u2013é", "\u200b", "<b>"])
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert "bdi" not in render("<p>{{ x }}</p>", x=text)


def test_a_text_that_was_joined_with_others_is_isolated_as_a_whole() -> None:
    template = "<p>{{ x ~ _('now') }}</p><p>{{ x|e }}</p><p>{{ [x, _('b')]|join(', ') }}</p><b>c</b>"
    page = render(template, x=OVERRIDE)
    assert page == "".join(f"<p><bdi>{OVERRIDE}{end}</bdi></p>" for end in ("now", "", ", b")) + "<b>c</b>"


@pytest.mark.parametrize("media_type", ["text/csv", "application/json", "text/plain"])
def test_what_is_no_page_stays_as_it_is(media_type: str) -> None:
    response = Response(f"<p>{OVERRIDE}</p>", mimetype=media_type)
    assert write_isolated_texts(response).get_data(as_text=True) == f"<p>{OVERRIDE}</p>"


def test_what_is_captured_as_markup_is_isolated_once() -> None:
    template = "{% macro m(x) %}<b>{{ x }}</b>{% endmacro %}{% set y %}{{ m(x) }}{% endset %}<p>{{ y }}</p>"
    assert render(template, x=OVERRIDE) == f"<p><b><bdi>{OVERRIDE}</bdi></b></p>"


def find_bare_texts(page: str) -> Iterator[str]:
    """Yield what turns the direction on a page without an element that isolates it."""
    for element in html.fromstring(page).iter():
        if not isinstance(element.tag, str):
            continue
        around = [element, *element.iterancestors()]
        for text, places in ((element.text, around), (element.tail, around[1:])):
            names = {place.tag for place in places}
            if text and OVERRIDE in text and not names & {"bdi", *PLAIN}:
                yield f"{element.tag}: {text.strip()[:80]!r}"


@pytest.mark.long
@pytest.mark.parametrize("who", PEOPLE)
def test_no_page_lets_the_text_of_another_turn_what_is_beside_it(story: Story, who: str) -> None:
    def plant_everywhere(root: etree._Element) -> None:
        plant(root, OVERRIDE)

    story.submit(story.submission(all_of(reference("TURNED"), plant_everywhere)))
    story.tick(seconds=1)
    assert story.case().state == "REFUSED", "characters that the sets of agencies do not have"
    story.submit(story.submission(set_text(".//Declarant/Name", f"{OVERRIDE}The declarant")))
    story.tick(seconds=1)
    assert story.case().state == "IN_PROGRESS"
    story.hear("KPTA", asked(story, "KPTA", "N1", text=f"{OVERRIDE}which one?"))
    with write_transaction(story.house.engine, "test") as conn:
        parties.register_party(conn, "p2", f"Party {OVERRIDE}2", "applicant", story.clock(), [])
    console = Console(story.house.hub)
    kind, organisation, role = (PEOPLE | {"officer": ("agency", "KPTA", "head")})[who]
    console.add_account("kim", (kind, organisation), role)
    pages = crawl(console.enter("kim"), "/console/")
    texts = [content.decode() for media_type, content in pages.values() if media_type == "text/html"]
    assert [bare for page in texts for bare in find_bare_texts(page)] == []
    isolated = sum(page.count("<bdi>") for page in texts)
    assert isolated or who == "administrator"
