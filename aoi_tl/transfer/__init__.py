"""Detectors trained in a chain, handing tensors from one stage to the next."""
