"""Text and JSON of kernel tools into a ``Ruleset``; nothing here runs a tool."""
