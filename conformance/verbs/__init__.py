"""The verbs `demo`, `practice` and `conformance …`; `verb_table` names the module of each."""
