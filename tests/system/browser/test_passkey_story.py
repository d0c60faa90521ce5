"""A person registers a passkey, signs in by it, and confirms an act; Chromium holds the authenticator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Blueprint, render_template_string, request
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

from gateway.accounts import PasskeyError, verify_confirmation
from gateway.store import accounts, read_transaction, sessions, write_transaction
from gateway.web.console.page_guards import get_visitor, require_sign_in
from gateway.web.console.passkey_challenges import begin_passkey_confirmation, finish_passkey_confirmation
from tests.kit.browser import ConsoleBrowser, serve_pages, start_browser
from tests.kit.console import PASSWORD, Console
from tests.kit.ports import find_free_port
from tests.kit.story import Story

pytestmark = [pytest.mark.browser, pytest.mark.long]
DOCUMENT = b'{"act":"approve","number":17}'
FORM = """{% extends "base.html" %}
{% block head %}<script src="{{ url_for('static', filename='passkeys.js') }}" defer></script>{% endblock %}
{% block title %}Act{% endblock %}
{% block main %}<h1>Act</h1><form method="post" data-passkey-options="{{ options }}">{{ form_token_field() }}
{% include "passkey_confirmation.html" %}<button name="act" value="approve">Approve</button>
<button name="act" value="back" data-passkey-skip>Back</button></form>{% endblock %}"""


def add_act(console: Console) -> None:
    """Add a page whose form is confirmed by a passkey, as sections do it."""
    pages = Blueprint("act", __name__, url_prefix="/console/act")

    @pages.get("")
    @require_sign_in
    def show_act() -> str:
        options = begin_passkey_confirmation(get_visitor(), DOCUMENT)
        return render_template_string(FORM, options=options)

    @pages.post("")
    @require_sign_in
    def do_act() -> str:
        answer = request.form["passkey_answer"]
        if request.form["act"] == "back":
            return f"went back, {len(answer)} octets"
        try:
            with write_transaction(console.services.engine, "test") as conn:
                act = finish_passkey_confirmation(conn, get_visitor(), DOCUMENT, answer)
        except PasskeyError as problem:
            return f"refused: {problem}"
        return f"{request.form['act']} confirmed {verify_confirmation(DOCUMENT, act.evidence).sign_count}"

    console.application.register_blueprint(pages)


@contextmanager
def visit(console: Console, port: int, folder: Path) -> Iterator[ConsoleBrowser]:
    with serve_pages(console, port) as url, start_browser(folder, url) as browser:
        options = VirtualAuthenticatorOptions()
        options.has_resident_key = True
        options.has_user_verification = True
        options.is_user_verified = True
        browser.driver.add_virtual_authenticator(options)
        yield browser


def test_a_passkey_signs_in_and_confirms_an_act(story: Story, tmp_path: Path) -> None:
    port = find_free_port()
    console = Console(story.house.hub, console={"port": port})
    console.add_account("kim", ("agency", "KPTA"), "officer")
    add_act(console)
    with visit(console, port, tmp_path) as browser:
        browser.sign_in("kim")
        browser.open("/console/account/passkeys")
        browser.take_picture("passkeys-none", tmp_path)
        browser.fill("Name of the passkey", "Desk")
        browser.fill("Present password", PASSWORD)
        browser.press("Add")
        assert "Desk" in browser.text
        browser.take_picture("passkeys", tmp_path)
        browser.press("Sign out")
        browser.press("Sign in with a passkey")
        browser.open("/console/account")
        assert "Kim" in browser.find("header").text
        with read_transaction(console.services.engine) as conn:
            kim = accounts.find_by_name(conn, "kim")
            assert kim is not None
            assert sessions.list_sessions(conn, kim.id)[0].method == "passkey"
        browser.open("/console/act")
        browser.press("Back")
        assert browser.text == "went back, 0 octets"
        browser.open("/console/act")
        browser.press("Approve")
        assert browser.text == "approve confirmed 3"
        browser.driver.back()
        browser.press("Approve")
        assert browser.text.startswith(("approve confirmed", "refused"))
        if browser.text.startswith("refused"):
            assert "answered already" in browser.text


def test_a_person_without_an_authenticator_is_told_so(story: Story, tmp_path: Path) -> None:
    port = find_free_port()
    console = Console(story.house.hub, console={"port": port})
    with serve_pages(console, port) as url, start_browser(tmp_path, url) as browser:
        options = VirtualAuthenticatorOptions()
        browser.driver.add_virtual_authenticator(options)
        browser.open("/console/sign-in")
        (button,) = [one for one in browser.list_all("button") if one.text == "Sign in with a passkey"]
        button.click()
        browser.wait_for("The passkey did not answer. You may try again.")
        browser.check_page()
