"""How long things take, each beside a bare tool or a peer in the same run: ``make bench``."""
