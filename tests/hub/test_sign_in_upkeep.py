"""The upkeep of sign-ins: what is old goes, what is asked for stays."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from gateway.store import (
    NewAccount,
    NewChallenge,
    NewInvitation,
    NewOidcSignIn,
    NewSession,
    accounts,
    read_transaction,
    sessions,
    write_transaction,
)
from gateway.store.accounts import account_invitations as invitation_rows
from gateway.store.accounts import sessions as session_rows
from gateway.store.accounts import sign_ins
from gateway.store.sessions import oidc_sign_ins as oidc_rows
from gateway.store.sessions import passkey_challenges
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import START, House

DAY = timedelta(days=1)


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine)


def add_rows(engine: Engine, at: datetime, token: str) -> None:
    """Leave what one day of one person leaves: sign-ins, a session, and things that nobody answered."""
    with write_transaction(engine, "test") as conn:
        kim = accounts.find_by_name(conn, "kim")
        account = accounts.insert_account(conn, NewAccount("kim", "Kim", "t"), at) if kim is None else kim.id
        for good in (True, False):
            accounts.record_sign_in(conn, "kim", "192.0.2.1", good, at)
        new = NewSession(token, account, "agency", "KPTA", "password", "192.0.2.1", at)
        number = sessions.insert_session(conn, new, at)
        later = at + timedelta(minutes=5)
        sessions.insert_challenge(conn, NewChallenge("register", token, "", later, number))
        row = NewOidcSignIn(token, "b", "n", "v", "/", "192.0.2.1", later)
        sessions.insert_oidc_sign_in(conn, row)
        accounts.insert_invitation(conn, NewInvitation(token, account, "t", later), at)


def count_rows(engine: Engine) -> dict[str, int]:
    tables = (sign_ins, session_rows, passkey_challenges, oidc_rows, invitation_rows)
    with read_transaction(engine) as conn:
        return {one.name: conn.execute(select(func.count()).select_from(one)).scalar_one() for one in tables}


@BOTH_AT_LANDING
def test_old_rows_go_and_young_ones_stay(house: House) -> None:
    for days in (200, 100, 50, 2):
        add_rows(house.engine, START - days * DAY, f"t{days}")
    add_rows(house.engine, START, "now")
    house.hub.run_maintenance()
    assert count_rows(house.engine) == {
        "sign_ins": 4,  # the good ones of 90 days, and the failure of today
        "sessions": 3,
        "passkey_challenges": 1,
        "oidc_sign_ins": 1,
        "account_invitations": 1,
    }


def test_the_last_session_of_a_person_stays(house: House) -> None:
    add_rows(house.engine, START - 300 * DAY, "a")
    add_rows(house.engine, START - 299 * DAY, "b")
    house.hub.run_maintenance()
    with read_transaction(house.engine) as conn:
        assert [row.token_sha256 for row in sessions.list_sessions(conn, 1)] == ["b"]


def test_a_long_session_in_use_stays(house: House) -> None:
    add_rows(house.engine, START - 100 * DAY, "long")
    add_rows(house.engine, START - 99 * DAY, "short")
    with write_transaction(house.engine, "test") as conn:
        sessions.record_session_use(conn, sessions.list_sessions(conn, 1)[1].id, START)
    house.hub.run_maintenance()
    assert count_rows(house.engine)["sessions"] == 2


def test_it_is_done_once_an_hour_and_to_the_end(house: House) -> None:
    house.hub.run_maintenance()
    with write_transaction(house.engine, "test") as conn:
        rows = [{"name_sha256": "x", "network": "n", "good": False, "at": START - 2 * DAY}] * 1200
        conn.execute(sign_ins.insert(), rows)
    house.hub.run_maintenance()
    assert count_rows(house.engine)["sign_ins"] == 1200
    house.clock.now += timedelta(hours=1)
    house.hub.run_maintenance()
    assert count_rows(house.engine)["sign_ins"] == 0
