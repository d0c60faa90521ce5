from .condition_sentences import to_data as to_data
from .condition_sentences import write_sentence as write_sentence
from .generated_files import generate_all_files as generate_all_files
from .notice_schemas import write_notice_schema as write_notice_schema
from .request_schemas import get_request_schema as get_request_schema
