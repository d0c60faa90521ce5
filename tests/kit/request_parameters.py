"""Names of the parameters that pages read: noted while a request is answered, and read from forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from flask import Flask, Request, request
from lxml import html
from werkzeug.datastructures import EnvironHeaders, ImmutableMultiDict
from werkzeug.exceptions import HTTPException

from tests.kit.console import Browser

__all__ = ["PageForm", "Pages", "note_read_names"]

#: Links are followed to so many addresses of each page.
_PLACES = 2


class _NotedNames:
    """Notes each name that is looked up, by the endpoint of the request."""

    #: Endpoint and names; a class attribute, because werkzeug makes the objects.
    names: ClassVar[dict[tuple[str, str], set[str]]] = defaultdict(set)
    kind = "field"

    def _note(self, name: Any) -> None:
        if isinstance(name, str) and request:
            self.names[request.endpoint or "", self.kind].add(name)

    def get(self, name: Any, *rest: Any, **more: Any) -> Any:
        self._note(name)
        return super().get(name, *rest, **more)  # type: ignore[misc]

    def getlist(self, name: Any, *rest: Any, **more: Any) -> Any:
        self._note(name)
        return super().getlist(name, *rest, **more)  # type: ignore[misc]

    def __getitem__(self, name: Any) -> Any:
        self._note(name)
        return super().__getitem__(name)  # type: ignore[misc]

    def __contains__(self, name: Any) -> bool:
        self._note(name)
        return bool(super().__contains__(name))  # type: ignore[misc]


class _NotedFields(_NotedNames, ImmutableMultiDict[str, Any]):
    """Fields of a query or a form."""


class _NotedCookies(_NotedNames, ImmutableMultiDict[str, Any]):
    """Cookies."""

    kind = "cookie"


class _NotedHeaders(_NotedNames, EnvironHeaders):
    """Header fields."""

    kind = "header"


class _NotedRequest(Request):
    parameter_storage_class = _NotedFields
    dict_storage_class = _NotedCookies

    def __init__(self, environ: Any, *rest: Any, **more: Any) -> None:
        super().__init__(environ, *rest, **more)
        self.headers = _NotedHeaders(environ)


def note_read_names(application: Flask) -> dict[tuple[str, str], set[str]]:
    """Let an application note what it looks up; return the names by endpoint and kind, filled later."""
    _NotedNames.names = defaultdict(set)
    application.request_class = _NotedRequest
    return _NotedNames.names


@dataclass(frozen=True)
class PageForm:
    """A form of a page: where it is sent, and the values that it has when nothing is typed."""

    path: str
    fields: tuple[tuple[str, str], ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.fields)


@dataclass
class Pages:
    """The pages and forms that a person finds by following links, by their endpoints."""

    application: Flask
    paths: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    forms: dict[str, list[PageForm]] = field(default_factory=lambda: defaultdict(list))

    def explore(self, person: Browser, start: str) -> None:
        """Follow links from `start`; some addresses of each page."""
        waiting, seen = [start], {start}
        while waiting:
            path = waiting.pop(0)
            endpoint = self.find_endpoint("GET", path)
            if endpoint is None or endpoint == "static" or len(self.paths[endpoint]) >= _PLACES:
                continue
            answer = person.get(path)
            assert answer.status_code < 500, (path, answer.text[:300])
            if answer.status_code == 302:
                waiting.append(answer.location)
                continue
            if answer.status_code != 200:
                continue
            self.paths[endpoint].append(path)
            if answer.mimetype == "text/html":
                for link in self._read_page(path, answer.text):
                    if link not in seen:
                        seen.add(link)
                        waiting.append(link)

    def _read_page(self, path: str, text: str) -> Iterator[str]:
        page = html.fromstring(text)
        for one in page.iter("form"):
            target = urljoin(path, one.get("action") or path)
            method = (one.get("method") or "get").upper()
            endpoint = self.find_endpoint(method, target)
            assert endpoint is not None, (path, method, target)
            self.forms[endpoint].append(PageForm(target, tuple(_list_fields(one))))
        for link in page.iter("a"):
            yield urljoin(path, link.get("href", "")).partition("#")[0]

    def find_endpoint(self, method: str, path: str) -> str | None:
        """Return the endpoint of an address; None where there is none."""
        adapter = self.application.url_map.bind("localhost")
        try:
            return str(adapter.match(urlsplit(path).path, method=method)[0])
        except HTTPException:
            return None

    def find_variables(self, method: str, path: str) -> dict[str, Any]:
        """Return the variables of an address, by name."""
        return dict(self.application.url_map.bind("localhost").match(urlsplit(path).path, method=method)[1])


def _list_fields(form: Any) -> Iterator[tuple[str, str]]:
    for one in form.iter("input", "select", "textarea", "button"):
        name = one.get("name")
        if name:
            value = one.value if one.tag != "button" else one.get("value")
            yield name, value if isinstance(value, str) else ""
