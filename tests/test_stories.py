"""Each role has its story and its refusal at every landing, and what matters is guarded there."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from tests.kit.paths import ROOT
from tests.stories import PAGE, ROLES, draw_page, get_level, list_marks, list_stories

#: Rooms and files whose tests say what is decided about money, authority, releases, and what a person sees
#: first. None of them runs by night alone (its further cases, and those on PostgreSQL, may), but for a few.
GUARDED = (
    *("accounts", "cases", "flows", "hub", "web"),
    *("cli/test_account.py", "cli/test_agency.py", "cli/test_audited_changes.py", "cli/test_case_custody.py"),
    *("cli/test_case_numbers.py", "cli/test_case_unask.py", "cli/test_delivery_compose.py"),
    *("cli/test_evidence.py", "cli/test_fees.py", "cli/test_key_change.py", "cli/test_mailbox.py"),
    *("cli/test_queue_hold.py", "cli/test_recognition_verbs.py", "cli/test_registration.py"),
    *("cli/test_requirement.py", "cli/test_restore.py", "cli/test_submission.py"),
)
NIGHT_ALONE = {
    "the same choices in every order, or in drawn orders": {
        "flows/officers/test_cancellations.py::test_officers_answer_a_withdrawal_as_a_system_does_in_every_order",
        "flows/test_case_turns.py::test_drawn_runs_end_as_the_rules_say",
        "flows/test_case_turns.py::test_drawn_runs_of_withdrawn_declarations_end_as_the_rules_say",
        "flows/test_case_turns.py::test_many_drawn_runs_end_as_the_rules_say",
        "flows/test_case_turns.py::test_many_drawn_runs_of_withdrawn_declarations_end_as_the_rules_say",
        "flows/test_equal_notices.py::test_drawn_notices_in_drawn_orders_end_alike",
        "flows/test_equal_notices.py::test_many_drawn_notices_in_drawn_orders_end_alike",
        "flows/test_fee_turns.py",
        "flows/test_goods_turns.py",
        "flows/test_matched_fees.py::test_the_same_fees_are_due_in_every_order",
        "flows/test_matched_fees.py::test_what_is_given_back_of_a_confirmed_fee_is_the_same_in_every_order",
        "flows/test_need_impact.py::test_drawn_submissions_filed_under_both_editions",
        "flows/test_need_impact.py::test_what_is_told_is_what_filing_again_says",
        "flows/test_notice_permutations.py::test_every_order_of_five_notices_ends_alike",
        "flows/test_pinned_status_codes.py"
        "::test_questions_inspections_and_fees_stand_by_the_codes_of_their_case_in_every_order",
        "flows/test_standing_demands.py::test_each_demand_stands_until_it_is_settled_in_every_order",
        "web/test_delivered_notices.py::test_both_forms_bring_the_same_values_for_every_notice",
    },
    "hundreds of races; a few run at each landing": {
        "flows/test_order_race.py::test_several_workers_keep_a_long_order",
        "flows/test_race.py::test_of_three_hundred_cases_three_hundred_are_decided",
        "flows/test_requirement_ledger.py::test_three_hundred_races_for_the_last_quantity",
    },
    "suites against whole hubs and doubles; a few run at each landing": {
        "flows/standard/test_answers_by_post.py",
        "flows/standard/test_as4_doubles.py::test_a_right_gateway_passes_everything",
        "flows/standard/test_as4_doubles.py::test_each_double_is_found_out",
        "flows/standard/test_as4_own_hub.py",
        "flows/standard/test_doubles.py",
        "flows/standard/test_own_hub.py",
        "flows/standard/test_passing_doubles.py",
        "flows/standard/test_restarts.py",
    },
    "cost, load and waste, and tools of attackers": {
        "flows/test_day_notice_attacks.py::test_two_hundred_certificates_of_a_day_cost_little",
        "flows/hostile/test_attacked.py",
        "flows/hostile/test_corpus.py",
        "flows/hostile/test_cost.py",
        "flows/hostile/test_first_contact.py",
        "flows/hostile/test_http.py",
        "flows/hostile/test_kept.py",
        "flows/hostile/test_outbound.py",
        "flows/hostile/test_signatures.py",
        "web/api/test_generated_clients.py",
        "web/console/test_crawl.py::test_no_page_repeats_markup_and_every_link_leads_somewhere",
        "web/test_call_bodies.py::test_no_changed_octet_changes_the_effect",
        "web/test_large_downloads.py::test_the_bundle_of_the_api_has_the_large_file",
        "web/test_process_modules.py",
        "web/test_request_parameters.py::test_every_field_of_the_console_is_read_by_one_reader",
    },
    "a token of hardware, with each of its faults": {"flows/test_key_gone.py"},
}


def list_night_tests() -> Iterator[str]:
    """Yield each test of a guarded room that runs by night alone: its file, and its name."""
    for room in GUARDED:
        place = ROOT / "tests" / room
        for path in [place] if place.is_file() else sorted(place.rglob("test_*.py")):
            module = ast.parse(path.read_text(encoding="utf-8"))
            for node in module.body:
                if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                    continue
                if get_level(list_marks(node, module)) == "night":
                    yield f"{path.relative_to(ROOT / 'tests').as_posix()}::{node.name}"


def test_each_role_has_a_short_story_and_a_short_refusal() -> None:
    short_stories = {(story.role, story.is_refusal) for story in list_stories() if story.level == "short"}
    assert short_stories == {(role, is_refusal) for role in ROLES.values() for is_refusal in (False, True)}


def test_each_story_is_told_once_and_never_by_night_alone() -> None:
    stories = list_stories()
    assert [story for story in stories if story.level == "night"] == []
    assert [
        sentence for sentence, count in Counter(story.sentence for story in stories).items() if count > 1
    ] == []


def test_the_page_of_stories_is_that_of_the_marks() -> None:
    assert PAGE.read_text(encoding="utf-8") == draw_page(list_stories()), "run: python -m tests.stories"


def test_what_matters_is_not_guarded_by_night_alone() -> None:
    permitted = set().union(*NIGHT_ALONE.values())
    night_tests = list(list_night_tests())
    unguarded = [
        test for test in night_tests if test not in permitted and test.split("::")[0] not in permitted
    ]
    assert unguarded == [], "give it the mark `long`, or none"
    in_use = {test for test in night_tests} | {test.split("::")[0] for test in night_tests}
    assert permitted - in_use == set()
