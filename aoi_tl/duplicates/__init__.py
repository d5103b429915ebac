"""Images that show the same part: copies, overlaps, repeated designs."""
