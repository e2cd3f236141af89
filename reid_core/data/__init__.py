"""Images, tables of images, rendered people."""
