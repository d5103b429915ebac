"""Choosing a source: measures, ranking, selection."""
