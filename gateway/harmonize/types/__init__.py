"""The terms of mappings: places, forms, code lists, units, conditions, common meanings, asked fields."""
