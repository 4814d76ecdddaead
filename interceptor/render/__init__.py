"""A ``Ruleset`` into text for a kernel tool: no subprocess, no clock, no environment.

Each language has two steps. ``lower`` gives the ``Ruleset`` that the kernel will hold: sets
split where the language has none, families apart, names as that language has them. ``text``
writes a lowered one down, and nothing but what is in it. Reading the kernel back gives an equal
lowered ``Ruleset``, which is how drift is found.
"""
