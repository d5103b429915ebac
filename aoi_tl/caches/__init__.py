"""Caches on disk: image signatures, dataset summaries, and the index of many datasets."""
