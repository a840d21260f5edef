"""Programs that measure what the documents say; each prints a Markdown table."""
