"""The options of lists: filters by state, party, agency, reference, age and text, and the next page."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click
from sqlalchemy import Connection

from gateway.cli.result_output import print_table, write_error
from gateway.cli.shared_options import SEARCH_TEXT, Decorator, assume_hub_zone, join_options
from gateway.cli.verb_groups import Arguments
from gateway.config import Settings
from gateway.operations import CUSTOMS
from gateway.store import lanes, parties
from gateway.wire import parse_iso_datetime

if TYPE_CHECKING:
    from gateway.store import ListFilter, ListPage

_SECONDS_BY_UNIT: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
#: Seconds: a hundred years.
_MAX_AGE_SECONDS: Final = 36500 * 86400
_FILTERS: Final = {
    "party": "only those of this party",
    "agency": "only those of this agency",
    "reference": "only those of this reference, case number, UCR, bill of lading, container or cargo number",
}


def _parse_age(text: str) -> timedelta | None:
    age_match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)([smhdw])", text)
    if age_match is None:
        return None
    return timedelta(seconds=min(_MAX_AGE_SECONDS, float(age_match[1]) * _SECONDS_BY_UNIT[age_match[2]]))


class _Age(click.ParamType[timedelta]):
    """An age: a number with s, m, h, d or w."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the age of a text; report misuse for other text."""
        age = value if isinstance(value, timedelta) else _parse_age(value)
        if age is None:
            self.fail(f"{value[:40]} is not an age as 90s, 30m, 2h, 7d or 4w", param, ctx)
        return age


class _State(click.Choice[str]):
    """A state of those that exist, in capital or small letters."""

    def __init__(self, states: Sequence[str]) -> None:
        super().__init__(states, case_sensitive=False)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Return the message about an unknown state, which names those that exist."""
        return f"there is no state {str(value)[:40]}; the states are {', '.join(self.choices)}"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """Return the states as they are written."""
        return f"[{'|'.join(self.choices)}]"


class _Start(click.ParamType[datetime | timedelta]):
    """A time in ISO 8601, or an age."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta:
        """Return the time or age of a text; report misuse for other text."""
        if isinstance(value, datetime | timedelta):
            return value
        try:
            return _parse_age(value) or parse_iso_datetime(value)
        except ValueError:
            self.fail(f"{value[:40]} is neither a time as 2026-01-31T09:00 nor an age as 2h", param, ctx)


AGE: Final = _Age()


def list_options(states: Sequence[str], *filters: str, timed: bool = True, text: bool = True) -> Decorator:
    """Return the options of a list: ``--state`` with these states, `filters`, age, text, and the page."""
    options: list[Callable[..., Any]] = []
    if states:
        options.append(
            click.option("--state", type=_State(states), multiple=True, help="only this state; repeatable")
        )
    options += [click.option(f"--{name}", type=SEARCH_TEXT, help=_FILTERS[name]) for name in filters]
    if timed:
        since = "only those since this time (without a zone: that of the hub), or since so long ago, as 2h"
        options.append(
            click.option("--older", type=AGE, metavar="AGE", help="only those older than this, as 2h")
        )
        options.append(click.option("--since", type=_Start(), metavar="TIME", help=since))
    if text:
        options.append(
            click.option("--text", type=SEARCH_TEXT, help="only those whose row contains this text")
        )
    return join_options(*options, page_options())


def page_options() -> Decorator:
    """Return ``--limit`` and ``--after``."""
    after = "only those after this one: the first column of the last row of the page before"
    return join_options(
        click.option(
            "--limit",
            type=click.IntRange(1, 100_000),
            default=50,
            show_default=True,
            help="maximum number of rows",
        ),
        click.option("--after", help=after),
    )


def read_list_filter(arguments: Arguments, now: datetime, **more: Any) -> ListFilter:
    """Return the filter of the options; the settings must have been read, for the zone of a time."""
    from gateway.store import ListFilter

    options = vars(arguments)
    since, older = options.get("since"), options.get("older")
    since = now - since if isinstance(since, timedelta) else assume_hub_zone(since)
    values: dict[str, Any] = {
        "states": options.get("state") or (),
        "since": since,
        "until": now - older if older is not None else None,
        "limit": options["limit"],
        "after": options["after"],
    }
    search_texts = {name: options.get(name) or "" for name in ("party", "agency", "reference", "text")}
    return ListFilter(**(values | search_texts | more))


def require_row_number(arguments: Arguments) -> int | None:
    """Return ``--after`` as a row number; report misuse for other text."""
    after = arguments.after
    if after is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", after):
        raise click.BadParameter(f"{after[:40]} is not a number of a row", param_hint="'--after'")
    return int(after)


def read_clock() -> datetime:
    """Return the time now; that of the hub would load the packages of the hub."""
    return datetime.now(UTC)


def print_page(page: ListPage, *, as_json: bool, columns: Sequence[str]) -> None:
    """Print a page of a list, and on standard error how many rows follow it and how to go on.

    The value for ``--after`` is in the first column.
    """
    from gateway.store import LIST_COUNT_LIMIT

    print_table(page.rows, as_json=as_json, columns=columns)
    if page.remaining:
        sys.stdout.flush()
        remaining_text = (
            f"more than {LIST_COUNT_LIMIT}" if page.remaining >= LIST_COUNT_LIMIT else str(page.remaining)
        )
        write_error(f"… {remaining_text} more: --after {page.rows[-1][columns[0]]}")


def check_partner_names(
    conn: Connection, settings: Settings, arguments: Arguments, rows: Sequence[object]
) -> None:
    """Report misuse for a list without `rows` whose ``--party`` or ``--agency`` the hub does not know.

    A party of a case need not be registered, so the names of a list with rows are not checked.
    """
    options = vars(arguments)
    if rows or options.get("after"):
        return
    party, agency = options.get("party"), options.get("agency")
    if party and party != settings.hub.party and parties.find_party(conn, party) is None:
        raise click.BadParameter(f"no party {party[:80]} is registered", param_hint="'--party'")
    if agency and not _is_named_agency(conn, settings, agency):
        raise click.BadParameter(f"no agency {agency[:80]} is known", param_hint="'--agency'")


def _is_named_agency(conn: Connection, settings: Settings, agency: str) -> bool:
    """Return whether the settings, the lanes, or the mappings in force name an agency."""
    if agency in {*settings.agency, CUSTOMS} or any(
        agency == row.name for row in lanes.summarize_lanes(conn)
    ):
        return True
    from gateway.hub import get_current_time, load_active_rules, load_shipped_rules

    documents = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle.documents
    return any(agency == document.organisation for document in documents.values())
