from .customs_news import read_stored_notice as read_stored_notice
from .customs_news import tell_customs_news as tell_customs_news
from .customs_records import find_leading_result as find_leading_result
from .customs_reports import apply_customs_answer as apply_customs_answer
from .customs_reports import apply_customs_call as apply_customs_call
from .late_decisions import record_late_decision as record_late_decision
from .late_reports import tell_late_decision as tell_late_decision
