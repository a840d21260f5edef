"""Argument checks, error texts and input warnings. It knows no divergences and no states."""
