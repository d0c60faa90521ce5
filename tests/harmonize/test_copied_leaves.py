"""A leaf that copies a value is written in fewer steps, and no different from every other."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.harmonize import index_submission, make_placeholder_numbers, write_requests
from gateway.harmonize.engine import request_renderer
from gateway.harmonize.language import TargetElement, WritingPlan
from tests.harmonize.test_requests_alone import describe, vary
from tests.kit.documents import each_document
from tests.kit.filling import divide, shipped


def tell(root: etree._Element) -> list[object]:
    """Return all that a split says, as values that can be compared."""
    found = divide(root)
    fates = [entry.fates for entry in found.accounts.entries]
    written = [(describe(one), one.origins) for one in found.requests]
    # Without a ledger other leaves are evaluated.
    alone = write_requests(index_submission(root), shipped(), make_placeholder_numbers(root))
    return [written, found.problems, fates, [(describe(one), one.origins) for one in alone.requests]]


def plan_nothing(target: TargetElement) -> WritingPlan:
    return WritingPlan((), tuple(target.children))


@pytest.mark.parametrize("document", each_document())
def test_a_copied_leaf_is_written_as_every_other(document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for root in vary(document):
        copied = tell(root)
        with monkeypatch.context() as changed:
            changed.setattr(request_renderer, "plan_children", plan_nothing)
            assert tell(root) == copied
