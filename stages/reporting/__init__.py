"""What the report is made of: facts read from the stages' folders, curves, pictures, the page."""
