"""What is known from before: signatures, datasets, the index of a large shelf."""
