"""Results as named values, tables and plots."""
