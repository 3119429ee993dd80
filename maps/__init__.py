"""Saliency maps as grey levels, as exact arrays, as shares of regions, and as the extent of attention."""
