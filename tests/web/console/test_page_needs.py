"""Which pages take files, and which hash a password: the server asks before it reads a request."""

from __future__ import annotations

import ast

import pytest

from gateway.accounts import verify_password
from gateway.errors import NO_ROOM, TOO_LARGE, GatewayError
from gateway.web.console import RefusedRequestPages, find_page_needs
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
    assert len(routes) >= 8
    for rule in routes:
        path = console.application.url_map.bind("").build(
            rule.endpoint, dict.fromkeys(rule.arguments, 1), method="POST"
        )
        octets = find_page_needs(console.application, "POST", path).max_octets
        assert octets is not None
        assert octets > 1024**2, path


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "What to do"),
        ({"accept-language": "ko-KR,ko;q=0.9,en;q=0.8"}, "조치 방법"),
        ({"accept-language": "ko", "cookie": "a=b; language=en"}, "What to do"),
        ({"accept-language": ";q=x,,*", "cookie": "language=xx; =;"}, "What to do"),
    ],
)
def test_a_request_that_the_server_refuses_gets_a_page(
    console: Console, fields: dict[str, str], text: str
) -> None:
    pages = RefusedRequestPages(console.application, "en")
    for problem, status in ((NO_ROOM, 503), (TOO_LARGE, 413)):
        rejection = pages.make_rejection(GatewayError(problem, "of one request", "body"), fields)
        page = rejection.body.decode()
        assert (rejection.status, rejection.media_type) == (status, "text/html; charset=utf-8")
        assert problem.id in page
        assert text in page
        assert "of one request" not in page, "the page is kept for others"


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
