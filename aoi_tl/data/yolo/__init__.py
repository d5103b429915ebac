"""Ultralytics datasets, in and out."""
