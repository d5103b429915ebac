"""What a trained model is worth, and whether two of them differ."""
