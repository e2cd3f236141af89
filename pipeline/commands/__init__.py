"""Commands of genvar: options only, with light imports; the work is done by what they import when they run."""
