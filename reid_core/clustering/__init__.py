"""Neighbours, Jaccard distance and pseudo labels."""
