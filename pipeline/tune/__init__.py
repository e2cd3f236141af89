"""Search for settings with Ray Tune."""
