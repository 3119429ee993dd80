"""Videos, gaze and training clips that the project renders itself, so that nothing has to be downloaded."""
