"""The seven steps by which the hub processes a submission.

The steps are `receive`, `admit`, `split`, `forward`, `reply`, `conclude` and `notify`. `receive`
stores a parcel, `admit` opens a case from it, `reply` applies what an agency answers, `conclude`
makes the result, and `notify` sends the applicant a notice. Each of these is one transaction;
`split` and `forward` run within other steps.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
