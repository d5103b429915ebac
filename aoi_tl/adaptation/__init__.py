"""Adapting a source to its target: classes, and number of samples of each."""
