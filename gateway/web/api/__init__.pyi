from .api_application import build_api as build_api
from .api_operations import ApiServices as ApiServices
from .api_operations import build_api_services as build_api_services
from .api_operations import make_gate_rejection as make_gate_rejection
