"""The verbs, with one file for each noun; `gateway.cli.verb_table` names the module of every verb."""
