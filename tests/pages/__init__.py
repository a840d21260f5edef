"""The built documentation in a browser."""
