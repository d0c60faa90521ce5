from .content_inversion import compute_line_loss as compute_line_loss
from .request_paths import PathStep as PathStep
from .request_paths import find_in_request as find_in_request
from .request_paths import format_names as format_names
from .request_paths import read_path as read_path
from .request_reader import RequestReading as RequestReading
from .request_reader import read_request as read_request
from .round_trip import compare_request as compare_request
