from .decision_rules import ActiveRules as ActiveRules
from .decision_rules import DecisionRules as DecisionRules
from .decision_rules import load_rules as load_rules
from .decision_rules import unpack_mapping_archive as unpack_mapping_archive
from .register_snapshot import RegisterSnapshot as RegisterSnapshot
from .trusted_register import StaleSnapshotError as StaleSnapshotError
from .trusted_register import TrustedRegister as TrustedRegister
