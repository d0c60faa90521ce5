"""The verbs, a file for each noun; which verb lies where stands in `gateway.cli.verb_table`."""
