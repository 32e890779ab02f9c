"""Packs the components of a trajectory into stages, and finds what is not independent."""
