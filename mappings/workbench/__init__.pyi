from .diagram.diagram_rows import build_diagram as build_diagram
from .diagram.html_page import draw_page as draw_page
from .importer.folder_merge import merge_folder as merge_folder
from .importer.inventory_import import ImportResult as ImportResult
from .importer.inventory_import import import_inventory as import_inventory
