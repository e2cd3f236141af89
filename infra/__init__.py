"""Executors that run stages, and stores that keep their results."""
