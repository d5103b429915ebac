"""Experiment files: YAML in, one frozen and validated experiment out."""
