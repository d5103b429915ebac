"""A source made to fit its target: which one, which classes, how many of each."""
