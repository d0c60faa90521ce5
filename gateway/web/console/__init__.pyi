from .console_application import build_console as build_console
from .page_guards import build_console_services as build_console_services
from .page_guards import get_console_url as get_console_url
from .page_needs import find_page_needs as find_page_needs
from .refused_requests import RefusedRequestPages as RefusedRequestPages
