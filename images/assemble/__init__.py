"""Take an image's files out of a Debian that has its packages: ``python3 -m images.assemble``.

It runs where the image is built, with nothing but that Debian's Python. Files go to a directory,
from which the Containerfile copies them; with them goes the list of what they are and whose.
"""
