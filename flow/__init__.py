"""Optical flow of equirectangular frames, from pairs of frames to the colour images that the model reads."""
