from .error_places import RequestPlace as RequestPlace
from .notice_facts import derive_facts as derive_facts
from .notice_reader import NoticeFact as NoticeFact
