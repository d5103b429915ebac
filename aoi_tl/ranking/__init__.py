"""Which source to learn from: measures, order, choice."""
