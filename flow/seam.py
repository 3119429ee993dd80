"""TODO"""



# --------------------------------------------------------------------------------------------------- one pair of frames


def seam_padding(width):
    """Columns to wrap on either side: an eighth of the turn, more than things move between two samples."""
    return width // 8
