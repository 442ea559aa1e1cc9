"""Run Click commands in a local daemon, as if they ran here."""
