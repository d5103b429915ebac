"""Measures: colour signatures, transport between them, long-tailedness, domain discrepancy."""
