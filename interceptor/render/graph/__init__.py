"""Pictures of rules: as Mermaid, as DOT, and as SVG and HTML that a browser opens offline.

``drawing.draw`` makes a ``Drawing`` of a ruleset, with all texts fit to be shown; each of the
other modules writes one. Equal input gives equal bytes.
"""
