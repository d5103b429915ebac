"""Checkpoint files: found, checked, opened and written."""
