"""The command line: ``torchdivergence``."""
