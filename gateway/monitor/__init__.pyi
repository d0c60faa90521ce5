from . import health as health
from . import metrics as metrics
from .certificate_expiry import list_expiry_warnings as list_expiry_warnings
from .certificate_expiry import log_expiry_warnings as log_expiry_warnings
from .certificate_expiry import make_expiry_warnings as make_expiry_warnings
from .source_freshness import SourceFreshness as SourceFreshness
from .source_freshness import list_source_freshness as list_source_freshness
