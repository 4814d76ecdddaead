"""Policy as data: load a sheet of ``rules/`` and build the ``Ruleset`` it means."""
