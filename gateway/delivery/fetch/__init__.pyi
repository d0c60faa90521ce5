from .fetch_attempt import FetchAttempt as FetchAttempt
from .fetch_attempt import SourceClient as SourceClient
from .fetch_attempt import cancel_earlier_failure as cancel_earlier_failure
from .list_fetch import fetch_revocation_list as fetch_revocation_list
from .list_fetch import fetch_trusted_list as fetch_trusted_list
from .ocsp_fetch import fetch_ocsp_responses as fetch_ocsp_responses
