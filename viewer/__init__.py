"""What people look at: the overlay video, and the page with the video on the sphere, as a file or live."""
