"""Argument checks, error texts and input warnings. They know neither divergences nor states."""
