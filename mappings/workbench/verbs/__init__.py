"""The verbs `map import` and `map matrix`; `verb_table` names the module of each."""
