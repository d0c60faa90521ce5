"""Steps of a story of the demo: those of an agency are never taken for steps of the broker."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.errors import GatewayError
from gateway_conformance.verbs import demo_stories
from gateway_conformance.verbs.demo_stage import Stage
from gateway_conformance.verbs.demo_stories import StoryStep, report_step_result

RESULT = StoryStep({"NPQS": "PREPARED"}, "result", {"agency": "NPQS"})


def stage_in(folder: Path) -> Stage:
    return cast(
        Stage, SimpleNamespace(get_partner_folder=lambda name: folder / name, hub_url="http://127.0.0.1:1")
    )


@pytest.mark.parametrize("accepts", [True, False], ids=["accepted", "refused"])
def test_a_decision_that_the_hub_does_not_accept_ends_the_demo_with_a_sentence(
    accepts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def say_requirement_result(*arguments: Any) -> bool:
        calls.append(arguments)
        return accepts

    monkeypatch.setattr(demo_stories, "say_requirement_result", say_requirement_result)
    monkeypatch.setattr(demo_stories, "read_identity", lambda folder, name: name)
    if accepts:
        assert report_step_result(RESULT, stage_in(tmp_path))
    else:
        with pytest.raises(
            GatewayError, match=r"GW608 the hub does not accept the decision of NPQS at .*calls\.jsonl"
        ):
            report_step_result(RESULT, stage_in(tmp_path))
    ((identity, url, *_),) = calls
    assert (identity, url) == ("npqs", "http://127.0.0.1:1/soap/agency")


def test_a_step_of_the_broker_is_left_to_the_broker(tmp_path: Path) -> None:
    assert not report_step_result(StoryStep({}, "withdrawal"), stage_in(tmp_path))
