"""Mergeable states made of integers. It knows neither divergences nor backends."""
