from .condition_sentences import describe_condition as describe_condition
from .condition_sentences import to_data as to_data
from .condition_sentences import write_sentence as write_sentence
from .document_schemas import generate_all_files as generate_all_files
from .document_schemas import get_request_schema as get_request_schema
from .document_schemas import write_notice_schema as write_notice_schema
