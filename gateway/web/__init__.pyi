from .server.listener_address import check_port as check_port
from .server.parent_death import exit_with_parent as exit_with_parent
from .server.restart_limit import RestartLimit as RestartLimit
from .server.tls_terminator import watch_tls_context as watch_tls_context
from .server_settings import build_listener_address as build_listener_address
from .server_settings import build_terminator_settings as build_terminator_settings
from .serving_process import serve_application as serve_application
from .wsgi_application import build_application as build_application
