"""D0(x, x_init): how far a picture has moved from its input; 0 when equal, lower is better."""
