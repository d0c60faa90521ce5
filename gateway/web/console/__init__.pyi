from .console_application import build_console as build_console
from .console_services import ConsoleServices as ConsoleServices
from .console_services import build_console_services as build_console_services
from .console_services import get_console_url as get_console_url
