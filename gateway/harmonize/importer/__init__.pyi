from .inventory_import import ImportResult as ImportResult
from .inventory_import import import_inventory as import_inventory
