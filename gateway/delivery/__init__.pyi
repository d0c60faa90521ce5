from .bound_schemas import BoundSchemas as BoundSchemas
from .bound_schemas import read_bound_schemas as read_bound_schemas
from .host_logins import HostLogins as HostLogins
from .partner_settings import SettingsFile as SettingsFile
from .partner_settings import build_partners as build_partners
from .service_contracts import load_contract as load_contract
from .tls_connector import PerHostConnector as PerHostConnector
from .wiring import build_worker as build_worker
