"""Metrics: the life cycle of a torchmetrics metric with one state. It knows no formulas and no backends."""
