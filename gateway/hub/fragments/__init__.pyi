from .fragment_intake import FragmentPlace as FragmentPlace
from .fragment_intake import find_fragment_place as find_fragment_place
from .fragment_intake import store_fragment as store_fragment
from .joined_messages import join_fragments as join_fragments
from .refused_groups import drop_fragments as drop_fragments
from .refused_groups import expire_fragments as expire_fragments
