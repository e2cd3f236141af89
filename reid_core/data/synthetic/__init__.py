"""People rendered from a parametric body, seen by simulated cameras."""
