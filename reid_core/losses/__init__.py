"""One loss concept a file."""
