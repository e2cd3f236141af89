"""Memory, mixing, and the steps of each training stage."""
