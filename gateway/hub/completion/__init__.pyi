from . import case_closing as case_closing
from . import operator_actions as operator_actions
from . import signals as signals
from .case_closing import closing_transaction as closing_transaction
from .stored_decisions import compute_conclusion_id as compute_conclusion_id
from .stored_decisions import list_concerns as list_concerns
from .stored_decisions import make_concern as make_concern
from .stored_decisions import make_standing_decisions as make_standing_decisions
