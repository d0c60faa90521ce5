from .samples.sample_maker import make_sample as make_sample
from .samples.seeded_draws import SeededDraws as SeededDraws
from .samples.seeded_draws import draw_text as draw_text
