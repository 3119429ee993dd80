"""Gaze data sets as they are on disk, a small reader for each format, and the ground truth that is made from them."""
