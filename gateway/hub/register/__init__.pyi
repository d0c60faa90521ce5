from .active_rules import ActiveRules as ActiveRules
from .bundle_file import BundleFile as BundleFile
from .decision_rules import DecisionRules as DecisionRules
from .decision_rules import open_active_mappings as open_active_mappings
from .register_snapshot import RegisterSnapshot as RegisterSnapshot
from .trusted_register import StaleSnapshotError as StaleSnapshotError
from .trusted_register import TrustedRegister as TrustedRegister
