"""Options of several verbs; the module is small, so that a verb without database loads none."""

from __future__ import annotations

import math
import ssl
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import click

from gateway.cli.verb_groups import Arguments, VerbCommand, VerbDecorator, verb
from gateway.operations import get_display_zone
from gateway.wire import convert_to_utc, convert_to_zone, limit_to_utc, parse_day, parse_iso_datetime

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

#: The type of options and arguments that name a file or a folder.
FILE = click.Path(path_type=Path)
#: The type of arguments that name a row by its number, which is one that a database can have.
ROW_NUMBER: Final = click.IntRange(1, 2**63 - 1)
_MAX_REASON_LENGTH = 500
_MONTH: Final = timedelta(days=31)


class _Seconds(click.FloatRange):
    """A number of seconds; "nan", which no range contains or excludes, is misuse."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; report misuse for any other text, and for a number out of the range."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail("it is not a number", param, ctx)
        return number


#: The types of options that are seconds: waits, and limits, which are longer than nothing.
SECONDS: Final = _Seconds(0, 10**9)
TIME_OUT: Final = _Seconds(0.1, 10**6)


class _Moment(click.ParamType[datetime]):
    """A time in ISO 8601; without a zone it is UTC, or stays without one, or is misuse."""

    name = "time"

    def __init__(self, missing_zone: Literal["utc", "hub", "refused"]) -> None:
        self._missing_zone = missing_zone

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time of a text; report misuse for other text."""
        if isinstance(value, datetime):
            return value
        try:
            moment = parse_iso_datetime(value)
        except ValueError:
            self.fail(f"not a time as 2026-01-31T12:00:00Z: {value[:80]!r}", param, ctx)
        if moment.tzinfo is None and self._missing_zone == "refused":
            self.fail("the time has no time zone", param, ctx)
        if moment.tzinfo is None:
            return moment if self._missing_zone == "hub" else moment.replace(tzinfo=UTC)
        try:
            convert_to_utc(moment)
        except ValueError as fault:
            self.fail(f"{fault}: {value[:80]!r}", param, ctx)
        return convert_to_zone(moment, moment.tzinfo)


class _Day(click.ParamType[date]):
    """A day in ISO 8601."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day of a text; report misuse for other text."""
        if isinstance(value, date):
            return value
        text = str(value)
        try:
            # Of a text with the digits of another script strptime would make a day, too.
            return datetime.strptime(text if text.isascii() else "", "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"not a day as 2027-01-31: {text[:80]!r}", param, ctx)


class _Start(click.ParamType[date]):
    """A day (that begins at midnight in the time zone of the hub), or a time with its zone."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day, or the time, of a text; report misuse for other text."""
        if isinstance(value, date):
            return value
        text = str(value)
        try:
            return parse_day(text) or _parse_zoned_time(text)
        except ValueError:
            self.fail(f"not a day as 2027-01-31 or a time as 2027-01-31T12:00:00Z: {text[:80]!r}", param, ctx)


def _parse_zoned_time(text: str) -> datetime:
    moment = parse_iso_datetime(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    convert_to_utc(moment)
    return convert_to_zone(moment, moment.tzinfo)


class _Actor(click.ParamType[str]):
    """The name of a person or party, as it is stored: one line of at most 200 characters."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, composed; report misuse for text that is no name."""
        text = _compose_text(str(value).strip())
        if not text or len(text) > 200 or not text.isprintable():
            self.fail("a name is one line of 1 to 200 characters", param, ctx)
        return text


class _SearchText(click.ParamType[str]):
    """A name or text by which something is searched for; an empty one is that of a variable without value."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, composed as names are stored; report misuse for an empty one."""
        if not value:
            self.fail("an empty text names nothing: leave the option out for all of them", param, ctx)
        return _compose_text(str(value))


def _compose_text(text: str) -> str:
    """Return a text as it is stored and compared: in Normalization Form C."""
    if text.isascii():
        return text
    from gateway.wire import normalize_text

    return normalize_text(text)


#: The name that ``--by`` gives.
ACTOR: Final = _Actor()
SEARCH_TEXT: Final = _SearchText()
DAY: Final = _Day()
MOMENT = _Moment("utc")
ZONED_MOMENT = _Moment("refused")
#: For a verb that reads settings: `assume_hub_zone` gives the time its zone when they have been read.
HUB_MOMENT = _Moment("hub")
START: Final = _Start()


def join_options(*options: Decorator) -> Decorator:
    """Return one decorator that declares several options, in their order."""

    def declare_options(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return declare_options


def json_option(json_help: str = "print JSON") -> Decorator:
    """Return ``--json``."""
    return click.option("--json", is_flag=True, help=json_help)


def home_options(*, as_json: bool = True, json_words: str = "print JSON") -> Decorator:
    """Return ``--home``, ``--config`` and, if requested, ``--json``."""
    home_help = "the home folder (settings file gateway.toml in it, where there is one)"
    options = [
        click.option("--home", help=home_help),
        click.option("--config", help="the settings file"),
    ]
    return join_options(*options, *([json_option(json_words)] if as_json else []))


def new_home_option() -> Decorator:
    """Return ``--new``."""
    new_help = (
        "make home folder and database of a new hub; without it, no home and an empty database are refused"
    )
    return click.option("--new", is_flag=True, help=new_help)


def change_options(*, as_json: bool = True) -> Decorator:
    """Return the options of a verb that changes something: those of its home, and ``--by``."""
    return join_options(home_options(as_json=as_json), by_option())


def home_verb(verb_words: str) -> VerbDecorator:
    """Return the decorator of a verb that reads a home folder.

    The last options of the verb are those of `home_options`.
    """
    return _end_with_options(verb_words, home_options())


def changing_verb(verb_words: str) -> VerbDecorator:
    """Return the decorator of a verb that changes a home folder.

    The last options of the verb are those of `change_options`.
    """
    return _end_with_options(verb_words, change_options())


def _end_with_options(verb_words: str, options: Decorator) -> VerbDecorator:
    """Return the decorator that declares a verb and puts `options` after the options of its own."""

    def declare_verb(function: Callable[[Arguments], int | None]) -> VerbCommand:
        command = verb(verb_words)(function)
        command.params += click.command()(options(lambda: None)).params
        return command

    return declare_verb


def by_option() -> Decorator:
    """Return ``--by``."""
    by_help = "who acts, for the audit, beside the system user (default: the system user)"
    return click.option("--by", type=ACTOR, metavar="NAME", help=by_help)


def verification_options() -> Decorator:
    """Return the options of verbs that verify one file: ``--policy``, ``--trust``, ``--at``, ``--json``."""
    from gateway.xmlsec import POLICIES

    choice = click.Choice(sorted(POLICIES))
    return join_options(
        click.option("--policy", type=choice, default="strict", help="the signature policy"),
        click.option("--trust", type=FILE, multiple=True, metavar="PEM", help="trust anchors"),
        moment_option("time of validation"),
        json_option("print one JSON object"),
    )


def decryption_options(*, required: bool) -> Decorator:
    """Return the options that name a decryption key and the policy of encryption."""
    certificate_help = "the certificate of the decryption key, unless the PKCS#12 file contains it"
    opening = "a file with the password of the decryption key"
    policy = "the policy of encryption algorithms: strict, legacy-cbc or korea-seed"
    return join_options(
        click.option(
            "--decryption-key", type=FILE, required=required, metavar="F", help="the key to decrypt with"
        ),
        click.option("--decryption-certificate", type=FILE, metavar="F", help=certificate_help),
        click.option("--decryption-password-file", type=FILE, metavar="F", help=opening),
        click.option("--encryption-policy", default="strict", metavar="NAME", help=policy),
    )


def moment_option(time_meaning: str) -> Decorator:
    """Return ``--at``, a time that is used instead of now; `time_meaning` begins its help."""
    at_help = f"{time_meaning} (ISO 8601, with zone)"
    return click.option("--at", type=ZONED_MOMENT, metavar="TIME", help=at_help)


def period_options() -> Decorator:
    """Return ``--since`` and ``--until``: the period in which the examined cases were opened."""
    since = "cases opened since this time (without a zone: that of the hub); default: 31 days before --until"
    return join_options(
        click.option("--since", type=HUB_MOMENT, help=since),
        click.option("--until", type=HUB_MOMENT, help="and before this time; default: now"),
    )


def read_period(arguments: Arguments, now: datetime) -> tuple[datetime, datetime]:
    """Return the period of ``--since`` and ``--until``; the settings must have been read, for the zone."""
    until = assume_hub_zone(arguments.until) or now
    return assume_hub_zone(arguments.since) or _go_back_a_month(until), until


def _go_back_a_month(until: datetime) -> datetime:
    try:
        return until - _MONTH
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def assume_hub_zone(moment: datetime | None) -> datetime | None:
    """Return a time in its zone, or in that of the hub where it has none; the settings must have been read.

    A time that UTC does not have becomes the first or the last one of UTC.
    """
    if moment is None:
        return None
    zone = moment.tzinfo or get_display_zone()
    return convert_to_zone(limit_to_utc(moment.replace(tzinfo=zone)), zone)


def signing_options() -> Decorator:
    """Return ``--key``, ``--certificate`` and ``--password-file``."""
    certificate_help = "the certificate of the key, unless the PKCS#12 file contains it"
    return join_options(
        click.option("--key", type=FILE, required=True, metavar="F", help="the key to sign with"),
        click.option("--certificate", type=FILE, metavar="F", help=certificate_help),
        click.option("--password-file", type=FILE, metavar="F", help="a file with the password of the key"),
    )


def tls_options() -> Decorator:
    """Return the options of verbs that make calls: ``--ca``, ``--client-certificate``, ``--client-key``."""
    ca_help = "for https: trust anchors, if not those of the operating system"
    client_help = "for https: the client certificate"
    return join_options(
        click.option("--ca", type=FILE, metavar="PEM", help=ca_help),
        click.option("--client-certificate", type=FILE, metavar="PEM", help=client_help),
        click.option("--client-key", type=FILE, metavar="PEM", help="the key of the client certificate"),
    )


def make_tls_context(arguments: Arguments) -> ssl.SSLContext:
    """Return the TLS context of `tls_options`.

    Raises GW808 for a client certificate without its key, or a key without its certificate; GW803 for a
    file that cannot be used.
    """
    from gateway.errors import MISUSE, GatewayError
    from gateway.pki import TlsIdentity, make_client_context

    certificate, key = arguments.client_certificate, arguments.client_key
    if (certificate is None) != (key is None):
        raise GatewayError(MISUSE, "a client certificate needs its key", "--client-certificate")
    identity = TlsIdentity(certificate, key) if certificate is not None else None
    return make_client_context((arguments.ca,) if arguments.ca else (), identity)


def read_reason(arguments: Arguments) -> str | None:
    """Return the reason as one line; report misuse for one that is empty or too long."""
    if arguments.reason is None:
        return None
    reason = " ".join(str(arguments.reason).split())
    if not reason or len(reason) > _MAX_REASON_LENGTH or not reason.isprintable():
        raise click.BadParameter(
            f"a reason is a text of 1 to {_MAX_REASON_LENGTH} characters", param_hint="'--reason'"
        )
    return reason


def read_secret(read_text: Callable[[], str]) -> str:
    """Return the text that `read_text` reads (terminal or standard input); raise misuse if it is no text."""
    try:
        secret = read_text()
        secret.encode()
    except UnicodeError:
        raise click.UsageError(f"what was typed or piped is no text in {sys.stdin.encoding}") from None
    return secret
