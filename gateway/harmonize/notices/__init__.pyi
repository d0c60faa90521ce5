from .error_places import RequestPlace as RequestPlace
