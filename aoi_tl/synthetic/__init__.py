"""Synthetic datasets of the demo."""
