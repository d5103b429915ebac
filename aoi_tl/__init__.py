"""Transfer learning for automatic optical inspection around Ultralytics YOLO."""
