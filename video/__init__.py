"""Video files and folders of frames: decoding, sampling, resizing, caching and encoding, without the model."""
