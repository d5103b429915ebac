"""Caches on disk: signatures, datasets, the index of many datasets."""
