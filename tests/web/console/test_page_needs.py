"""Which pages take files, and which hash a password: the server asks before it reads a request."""

from __future__ import annotations

import ast

import pytest

from gateway.accounts import verify_password
from gateway.web.console import find_page_needs
from gateway.web.console.page_needs import find_accepted_octets, verify_typed_password
from gateway.web.server import PageNeeds
from tests.kit.console import Console
from tests.kit.paths import ROOT
from tests.kit.story import Story


@pytest.fixture
def console(story: Story) -> Console:
    return Console(story.house.hub)


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("POST", "/console/sign-in", PageNeeds(hashes_password=True)),
        ("POST", "/console/sign-in/", PageNeeds(hashes_password=True)),
        ("GET", "/console/sign-in", PageNeeds()),
        ("POST", "/console/welcome/any-token", PageNeeds(hashes_password=True)),
        ("POST", "/console/account/password", PageNeeds(hashes_password=True)),
        ("POST", "/console/account/passkeys", PageNeeds(hashes_password=True)),
        ("POST", "/console/language", PageNeeds()),
        ("POST", "/console/static/console.css", PageNeeds()),
        ("POST", "/console/no-such-page", PageNeeds()),
        ("POST", "//console/sign-in", PageNeeds(hashes_password=True)),
        ("POST", "/console/work/99999999999999999999999", PageNeeds()),
        ("POST", "*", PageNeeds()),
        ("POST", "", PageNeeds()),
        ("CONNECT", "/console/sign-in", PageNeeds()),
        ("POST", "/console/\udcff\x00", PageNeeds()),
    ],
)
def test_the_needs_of_a_page_are_those_of_its_route(
    console: Console, method: str, path: str, needs: PageNeeds
) -> None:
    assert find_page_needs(console.application, method, path) == needs


def test_pages_that_take_files_say_how_large_their_forms_are(console: Console) -> None:
    routes = [
        rule
        for rule in console.application.url_map.iter_rules()
        if find_accepted_octets(console.application.view_functions[rule.endpoint]) is not None
    ]
    assert len(routes) >= 6
    for rule in routes:
        path = console.application.url_map.bind("").build(
            rule.endpoint, dict.fromkeys(rule.arguments, 1), method="POST"
        )
        octets = find_page_needs(console.application, "POST", path).max_octets
        assert octets is not None
        assert octets > 1024**2, path


def test_a_page_hashes_no_password_in_the_threads_of_all_pages(console: Console) -> None:
    with (
        console.application.test_request_context("/console/language", method="POST"),
        pytest.raises(RuntimeError, match="take_password"),
    ):
        verify_typed_password(None, "a password of somebody")


def test_only_one_file_of_the_console_hashes_passwords() -> None:
    """Elsewhere a page could hash without `take_password`."""
    hashing = {verify_password.__name__, "hash_password"}
    users = {
        path.name
        for path in (ROOT / "gateway" / "web").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and hashing & {alias.name for alias in node.names}
    }
    assert users == {"page_needs.py"}
