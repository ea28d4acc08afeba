"""Steps of stage 2 for images."""
