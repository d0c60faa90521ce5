from .declaration_findings import find_broken_rules as find_broken_rules
from .request_renderer import ValueOrigin as ValueOrigin
from .request_renderer import split_text as split_text
from .submission_split import AgencyRequest as AgencyRequest
from .submission_split import SplitResult as SplitResult
from .submission_split import make_placeholder_numbers as make_placeholder_numbers
from .submission_split import split_submission as split_submission
from .unique_field_reader import read_field_values as read_field_values
