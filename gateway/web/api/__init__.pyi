from .api_application import build_api as build_api
from .api_services import ApiServices as ApiServices
from .api_services import build_api_services as build_api_services
from .problem_answers import make_gate_rejection as make_gate_rejection
