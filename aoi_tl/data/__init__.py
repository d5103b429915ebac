"""Datasets in: images, boxes, class names, and everything that reads or writes their files."""
