"""The life of a case, from the octets that arrive to the receipt that closes it, in ten steps.

1. octets arrive, are verified and stored, and only then answered: `intake`
2. the stored message is admitted: a new case, an amendment, a withdrawal, or a refusal: `submissions`
3. its goods and documents are compared with the rules in force: `submissions`, `requirements`
4. one application for each agency is composed, numbered, stored and queued: `submissions`
5. a worker sends it: `gateway.delivery`, from the queue that `outbox` fills
6. the answer of the agency is verified and stored: `answers`
7. its effects follow, such as a decision, a certificate, a fee, a demand: `answers`, `requirements`, `fees`
8. the state of the case is computed: `answers`, `completion`, `deadlines`
9. the applicant and customs are notified: `completion`, `customs`, `outbox`
10. receipts come in, and the case closes: `completion`

Beside the line stand `amendments` (steps 2 to 4 for a declaration that has changed), `officers` (acts of
people at the console), `register` and `trust` (which partners, rules and certificates count). Every step
that changes a case is one transaction, and leaves each later task as a row of the queue.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
