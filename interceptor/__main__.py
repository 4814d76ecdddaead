"""``python -m interceptor``."""

from interceptor.cli.entry import main

main()
