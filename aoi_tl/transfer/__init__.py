"""Training detectors in a chain: tensors are handed from one stage to the next."""
