"""The command line: every command a thin call into the rooms below."""
