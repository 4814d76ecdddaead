"""Random rules and packets: what ``analysis.walk`` foretells against what the kernel does.

``configs`` and ``packets`` make them, ``ground`` is the namespace they meet in, ``kernel`` sends
packets and looks what became of them, ``compare`` foretells and judges.
"""
