"""Classifiers trained across two domains: CDG and two-stage transfer."""
