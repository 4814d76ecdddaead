"""How the container images are made: see docs/images.md."""
