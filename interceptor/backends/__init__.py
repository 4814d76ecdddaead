"""Kernel languages: what they hold, what would have to change, and changing it."""
