"""The drawn datasets of the demo."""
