"""A flat film of a 360° video: the path of a virtual camera, by the maps of where people look, and what it sees."""
