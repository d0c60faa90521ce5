"""A console in process: its application over the hub of a `House`, and persons who click through it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from argon2 import PasswordHasher
from flask.testing import FlaskClient
from jinja2 import StrictUndefined, TemplateRuntimeError, UndefinedError
from jinja2.bccache import Bucket, BytecodeCache
from jinja2.utils import missing
from werkzeug.test import TestResponse

from gateway.config import Settings
from gateway.hub import Hub
from gateway.store import NewAccount, accounts, parties, write_transaction
from gateway.web.console import build_console, build_console_services, get_console_url
from gateway.web.console.page_guards import Authentication, begin_session
from gateway.web.officers import OfficerDesk, build_officer_desk

PASSWORD = "correct horse battery staple"


class CompiledTemplates(BytecodeCache):
    """Keeps the code of templates in memory."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


class MissingName(StrictUndefined):
    """What a template reads where nothing has the name: an attribute is refused at once, all else when used.

    `x is defined` asks for a variable, or for a key of a mapping; an attribute is part of a class, and a test
    for one that was renamed would be false for ever.
    """

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        super().__init__(hint, obj, name, exc)
        if obj is not missing and not isinstance(obj, Mapping):
            raise UndefinedError(f"{type(obj).__name__} has no attribute {name!r}")


def raise_mistake(mistake: UndefinedError) -> NoReturn:
    """Let a test fail where a template names what is not there; users see an error page."""
    raise mistake


#: A hash that is verified at once; the parameters of ours take a tenth of a second of a processor.
QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_HASHED = QUICK_HASHER.hash(PASSWORD)
#: Templates are compiled once for all applications.
_TEMPLATES = CompiledTemplates()
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class Console:
    """The console of a hub; `visit` gives a browser without a session."""

    def __init__(self, hub: Hub, /, *, desk: OfficerDesk | None = None, **sections: Any) -> None:
        settings = Settings(**sections)
        desk = desk or build_officer_desk(hub, settings, get_console_url(settings))
        self.services = build_console_services(hub, settings, desk)
        self.application = build_console(self.services)
        self.application.jinja_env.bytecode_cache = _TEMPLATES
        self.application.jinja_env.undefined = MissingName
        self.application.register_error_handler(UndefinedError, raise_mistake)
        self.application.config["PROPAGATE_EXCEPTIONS"] = True

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the pages, which reads the services of this console."""
        with self.application.app_context():
            return function(*arguments)

    def visit(self) -> Browser:
        return Browser(self.application.test_client())

    def add_account(self, name: str, organisation: tuple[str, str], *roles: str) -> int:
        """Store an account with `PASSWORD` and these roles, and register its party; return its id."""
        now = self.services.clock()
        with write_transaction(self.services.engine, "test") as conn:
            new = NewAccount(name, name.title(), "test", password=_HASHED)
            account = accounts.insert_account(conn, new, now)
            kind, code = organisation
            if kind == "party":
                parties.register_party(conn, code, code.title(), "applicant", now)
            accounts.set_roles(conn, account, kind, code, roles, now)
        return account

    def enter(self, name: str) -> Browser:
        """Return a browser with a session of an account, without the time that a password takes."""
        with write_transaction(self.services.engine, "test") as conn:
            account = accounts.find_by_name(conn, name)
            assert account is not None
            authentication = Authentication("password", "127.0.0.1", self.services.clock())
            token = self.call(begin_session, conn, account.id, authentication)
        assert token is not None
        browser = self.visit()
        browser.client.set_cookie("__Host-session", token, secure=True, samesite="Strict", httponly=True)
        return browser

    def sign_in(self, name: str) -> Browser:
        browser = self.visit()
        answer = browser.post("/console/sign-in", name=name, password=PASSWORD)
        assert answer.status_code == 302, answer.text
        return browser


@dataclass
class Browser:
    """A browser without scripts: it keeps cookies, and sends the form token of the last page."""

    client: FlaskClient
    token: str = ""
    #: What the server tells of the connection besides the request.
    connection: dict[str, Any] = field(default_factory=dict)

    def get(self, path: str, **more: Any) -> TestResponse:
        answer = self.client.get(path, environ_base=self.connection, **more)
        found = _TOKEN.search(answer.text) if answer.mimetype == "text/html" else None
        self.token = found[1] if found else self.token
        return answer

    def post(self, path: str, **fields: Any) -> TestResponse:
        """Send a form as a browser does: with its token, from a page of the console."""
        headers = {"Sec-Fetch-Site": "same-origin"}
        data = {"form_token": self.token} | fields
        return self.client.post(path, data=data, headers=headers, environ_base=self.connection)
