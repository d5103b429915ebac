"""Reading and writing Ultralytics datasets."""
