from . import readiness_checks as readiness_checks
from .readiness_checks import find_key_problem as find_key_problem
from .stamping_monitor import StalenessPolicy as StalenessPolicy
from .stamping_monitor import StampingMonitor as StampingMonitor
