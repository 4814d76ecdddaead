"""The command line: one file for each command, found and imported only when it is called."""
