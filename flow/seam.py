"""The seam of an equirectangular frame, where its left and its right edge meet. Before flow is computed the frame is
padded by wrapping, and afterwards the flow is cropped, so that motion across the seam is as short as anywhere else."""


def seam_padding(width):
    """Columns of padding on each side: an eighth of a turn, more than anything moves between two sampled frames."""
    return width // 8
