"""Keeps of each notice whether it states a day alone, and which notice counted when it came.

Notices from before this revision have neither: the hub read a day alone as its first instant, and told nobody
that a notice had no effect.

Until now, notices issued at one time were ordered by the text of their numbers, and 9 came after 10. `gateway
check` names the applications where that has decided; of results without an application nothing is stored that
says which one counted, so they are named here.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict

import sqlalchemy as sa
from alembic import op

revision = "0103"
down_revision = "0102"
branch_labels = None
depends_on = None

_log = logging.getLogger(__name__)
_MAX_NAMED = 20
_SIMULTANEOUS_RESULTS = """
SELECT r.agency, q.number, r.item, r.law, r.issued_at, r.notice_no
FROM requirement_results AS r JOIN requirements AS q ON q.id = r.requirement_id
WHERE EXISTS (SELECT 1 FROM requirement_results AS s WHERE s.requirement_id = r.requirement_id
    AND s.item = r.item AND s.law = r.law AND s.issued_at = r.issued_at AND s.notice_no <> r.notice_no)
ORDER BY r.id
"""


def upgrade() -> None:
    """Add both columns, and the index by which the notices without effect are found."""
    conn = op.get_bind()
    is_sqlite = conn.dialect.name == "sqlite"
    instant = sa.BigInteger() if is_sqlite else sa.DateTime(timezone=True)
    text = sa.Text() if is_sqlite else sa.Text(collation="C")
    op.add_column("notices", sa.Column("day_begins_at", instant, nullable=True))
    op.add_column("notices", sa.Column("overruled_by", text, nullable=True))
    has_been_overruled = sa.text("overruled_by IS NOT NULL")
    op.create_index(
        "ix_notices_overruled",
        "notices",
        ["received_at"],
        sqlite_where=has_been_overruled,
        postgresql_where=has_been_overruled,
    )
    _name_other_orders(conn)


def _name_other_orders(conn: sa.Connection) -> None:
    """Log a warning for the results of one time of which another one counts from now on."""
    notices = defaultdict(list)
    for *subject, notice in conn.exec_driver_sql(_SIMULTANEOUS_RESULTS):
        notices[tuple(subject)].append(notice)
    changes = {
        (agency, number, max(named), max(named, key=_order_number))
        for (agency, number, *_), named in notices.items()
        if _order_number(max(named)) < max(map(_order_number, named))
    }
    for agency, number, former, counting in sorted(changes)[:_MAX_NAMED]:
        _log.warning(
            "%s, number %s: notices %s and %s were issued at one time; %s counted, and by the number %s does "
            "from now on; ask the agency which of the two holds: a notice with a later time settles it",
            *(agency, number[:40], former[:40], counting[:40], former[:40], counting[:40]),
        )
    if len(changes) > _MAX_NAMED:
        _log.warning("and of %s further numbers another notice counts", len(changes) - _MAX_NAMED)


def _order_number(number: str) -> list[tuple[str, int, str]]:
    parts = [(text, digits.lstrip("0")) for text, digits in re.findall("([^0-9]*)([0-9]*)", number)]
    return [(text, len(digits), digits) for text, digits in parts]
