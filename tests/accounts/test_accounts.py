"""Roles, passwords, sessions and limits of sign-in, as values."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from gateway.accounts import (
    ROLES,
    FailedSignIns,
    OrganisationKind,
    Right,
    SessionLimits,
    SessionTimes,
    compute_sign_in_wait,
    derive_form_token,
    digest_token,
    find_password_problem,
    hash_password,
    is_session_over,
    list_rights,
    list_roles,
    make_token,
    verify_password,
)
from gateway.accounts.sign_in_proofs import MAX_PASSWORD_CHARACTERS, MIN_PASSWORD_CHARACTERS

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LIMITS = SessionLimits(timedelta(minutes=30), timedelta(hours=10))


def test_a_role_gives_rights_only_to_its_kind_of_organisation() -> None:
    assert Right.PROPOSE_DECISIONS in list_rights(OrganisationKind.AGENCY, frozenset({"officer"}))
    assert (
        list_rights(OrganisationKind.OPERATOR, frozenset({"officer", "head", "no such role"})) == frozenset()
    )


def test_no_role_spans_kinds_and_only_approvers_approve() -> None:
    assert {name for kind in OrganisationKind for name in list_roles(kind)} == set(ROLES)
    approving = {name for name, role in ROLES.items() if Right.APPROVE_DECISIONS in role.rights}
    assert approving == {"approver", "head"}
    reading = {"reader", "viewer", "observer"}
    changing = {right for right in Right if not right.value.endswith((".read", ".observe"))}
    assert not [name for name in reading if ROLES[name].rights & changing]


@pytest.mark.long
def test_a_password_is_verified_by_its_hash() -> None:
    stored = hash_password("correct horse battery", b"0" * 16)
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert verify_password(stored, "correct horse battery")
    assert not verify_password(stored, "correct horse batterY")
    assert not verify_password(None, "correct horse battery")
    assert not verify_password("no hash", "correct horse battery")
    assert not verify_password(stored, "x" * 1_000_000)


@pytest.mark.long
def test_a_password_is_the_same_on_every_keyboard() -> None:
    composed = "비밀번호는 아주 길고 어렵습니다"
    typed = unicodedata.normalize("NFD", composed)
    assert typed != composed
    for first, second in ((composed, typed), (typed, composed)):
        stored = hash_password(first, b"0" * 16)
        assert verify_password(stored, second)
        assert verify_password(stored, first)
    assert not verify_password(stored, composed.replace("비", "바"))


@pytest.mark.long
def test_the_length_of_a_password_is_that_of_its_characters() -> None:
    short = unicodedata.normalize("NFD", "비밀번호가짧습니다")
    assert len(short) > MIN_PASSWORD_CHARACTERS
    assert find_password_problem(short) == f"A password has at least {MIN_PASSWORD_CHARACTERS} characters."
    longest = "".join(chr(0xAC01 + 28 * number) for number in range(MAX_PASSWORD_CHARACTERS))
    typed = unicodedata.normalize("NFD", longest)
    assert len(typed) == 3 * MAX_PASSWORD_CHARACTERS
    assert find_password_problem(typed) is None
    assert verify_password(hash_password(longest, b"0" * 16), typed)


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("fourteen chars", "at least 15"),
        ("x" * 129, "at most 128"),
        ("abababababababab", "different"),
        ("my name is KIM-JIHUN", "name of its owner"),
        ("다섯 글자보다 긴 비밀번호입니다", None),
    ],
)
def test_a_poor_password_is_refused_in_a_sentence(password: str, problem: str | None) -> None:
    found = find_password_problem(password, ("kim-jihun", "Ki"))
    assert (found is None) is (problem is None)
    assert problem is None or problem in (found or "")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_in_a_password_is_found_in_every_unicode_form(form: Literal["NFC", "NFD"]) -> None:
    for password_form in ("NFC", "NFD"):
        password = unicodedata.normalize(password_form, "José-at-the-harbour")
        assert find_password_problem(password, (unicodedata.normalize(form, "José"),)) is not None


def test_a_token_is_random_and_stored_as_a_digest() -> None:
    token = make_token(bytes(range(32)))
    assert len(token) == 43
    assert digest_token(token) != token
    assert derive_form_token(token) not in {token, digest_token(token)}


@pytest.mark.parametrize(
    ("times", "over"),
    [
        (SessionTimes(NOW, NOW), False),
        (SessionTimes(NOW - timedelta(hours=1), NOW - timedelta(minutes=30)), True),
        (SessionTimes(NOW - timedelta(hours=10), NOW), True),
        (SessionTimes(NOW, NOW, ended_at=NOW), True),
    ],
)
def test_a_session_ends_by_idleness_by_age_or_by_an_act(times: SessionTimes, over: bool) -> None:
    assert is_session_over(times, LIMITS, NOW) is over


@pytest.mark.parametrize(
    ("failed", "waits"),
    [
        (FailedSignIns(4, 4, 4), False),
        (FailedSignIns(5, 5, 5), True),
        (FailedSignIns(0, 50, 0), True),
        (FailedSignIns(0, 0, 100), True),
        # A name attacked from elsewhere: its owner still gets in from the usual network.
        (FailedSignIns(0, 0, 5_000, is_familiar_network=True), False),
        (FailedSignIns(5, 5, 5, is_familiar_network=True), True),
    ],
)
def test_guessing_is_limited_and_locks_nobody_out(failed: FailedSignIns, waits: bool) -> None:
    assert (compute_sign_in_wait(failed) is not None) is waits
