"""A person signs in by an OpenID provider in Chromium: there, back, and to the page that was wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.store import accounts, sessions, write_transaction
from tests.kit.browser import serve_pages, start_browser
from tests.kit.console import Console
from tests.kit.levels import at_night
from tests.kit.openid_provider import CLIENT, SECRET, serve_provider
from tests.kit.ports import find_free_port
from tests.kit.story import Story

pytestmark = [pytest.mark.browser, pytest.mark.long]


@pytest.mark.parametrize("scripts", [True, *at_night(False)], ids=["with scripts", "without scripts"])
def test_a_person_goes_to_the_provider_and_comes_back(story: Story, tmp_path: Path, scripts: bool) -> None:
    port = find_free_port()
    (tmp_path / "secret").write_text(SECRET)
    with serve_provider(story.clock) as provider:
        oidc = {"issuer": provider.issuer, "client_id": CLIENT, "label": "Ministry"}
        oidc |= {"client_secret": {"file": str(tmp_path / "secret")}}
        console = Console(story.house.hub, console={"port": port, "oidc": oidc})
        kim = console.add_account("kim", ("agency", "KPTA"), "officer")
        with write_transaction(console.services.engine, "test") as conn:
            bound = {"oidc_issuer": provider.issuer, "oidc_subject": provider.subject}
            accounts.update_account(conn, kim, **bound)
        with (
            serve_pages(console, port) as url,
            start_browser(tmp_path / "b", url, scripts=scripts) as browser,
        ):
            browser.open("/console/account")
            assert browser.path.startswith("/console/sign-in")
            browser.check_page()
            browser.press("Sign in with Ministry")
            browser.wait_for("My account")
            browser.wait_for("Kim")
            assert browser.path == "/console/account"
            provider.subject = "somebody else"
            browser.press("Sign out")
            browser.press("Sign in with Ministry")
            browser.wait_for("No account of this console belongs to this person.")
            browser.check_page()


@pytest.mark.night
@pytest.mark.parametrize("scripts", [True, *at_night(False)], ids=["with scripts", "without scripts"])
def test_what_was_typed_is_there_after_coming_back(story: Story, tmp_path: Path, scripts: bool) -> None:
    """The browser leaves a form for the provider, whose answer comes without the strict cookie."""
    port = find_free_port()
    (tmp_path / "secret").write_text(SECRET)
    with serve_provider(story.clock) as provider:
        oidc = {"issuer": provider.issuer, "client_id": CLIENT, "label": "Ministry"}
        oidc |= {"client_secret": {"file": str(tmp_path / "secret")}}
        console = Console(story.house.hub, console={"port": port, "oidc": oidc})
        han = console.add_account("han", ("party", "broker1"), "filer")
        with write_transaction(console.services.engine, "test") as conn:
            bound = {"oidc_issuer": provider.issuer, "oidc_subject": provider.subject}
            accounts.update_account(conn, han, **bound)
        with (
            serve_pages(console, port) as url,
            start_browser(tmp_path / "b", url, scripts=scripts) as browser,
        ):
            browser.open("/console/submissions/new")
            browser.press("Sign in with Ministry")
            browser.wait_for("New submission")
            browser.find("#document-KFDA-FOOD-IMP").click()
            with write_transaction(console.services.engine, "test") as conn:
                sessions.end_open_account_sessions(conn, han, story.clock())
            browser.press("Begin")
            browser.wait_for("what you typed is kept")
            browser.check_page()
            browser.press("Sign in with Ministry")
            browser.wait_for("What you typed")
            browser.check_page()
            browser.press("Send it now")
            browser.wait_for("KFDA-FOOD-IMP")
            assert browser.path.startswith("/console/submissions/")
