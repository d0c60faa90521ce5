"""The verbs, with one file for each noun; `gateway.cli.verb_table` lists the place of every verb."""
