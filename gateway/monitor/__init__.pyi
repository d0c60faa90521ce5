from . import health as health
from . import metrics as metrics
from .health import SourceFreshness as SourceFreshness
from .health import SourceTerm as SourceTerm
from .health import list_expiry_warnings as list_expiry_warnings
from .health import list_source_freshness as list_source_freshness
from .health import log_expiry_warnings as log_expiry_warnings
from .health import make_expiry_warnings as make_expiry_warnings
