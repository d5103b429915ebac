"""Evaluating trained models, and comparing them."""
