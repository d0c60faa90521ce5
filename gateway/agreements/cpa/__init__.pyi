from .cpa_reader import find_form_problems as find_form_problems
from .cpa_reader import is_xml_document as is_xml_document
from .cpa_reader import read_cpa as read_cpa
from .pmode_conversion import convert_cpa as convert_cpa
