"""Mergeable states made of integers. They know neither divergences nor backends.

A state is a vector of int64 values. States of different rows merge by addition (extrema by maximum), so that the result
has the same bits for every batch size, order and number of processes.
"""
