"""Adapting a source to its target: shared classes only, with balanced counts."""
