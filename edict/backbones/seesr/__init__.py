"""SeeSR."""
