"""Large pictures: networks and autoencoders on overlapping tiles."""
