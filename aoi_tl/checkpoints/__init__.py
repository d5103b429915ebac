"""Checkpoints of anybody: found, opened with care, and written."""
