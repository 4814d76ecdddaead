"""Which mesh intercepts: the inverse of building rules from a sheet. Pure."""
