from .sample_draft import SeededDraws as SeededDraws
from .sample_draft import draw_text as draw_text
from .sample_maker import make_sample as make_sample
