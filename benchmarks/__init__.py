"""Programs that measure what the documents say.

``python -m benchmarks`` runs them all; each module measures one thing and makes one section of the report.
"""
