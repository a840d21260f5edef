"""Results as named values, intervals, tables and plots. They know the results of states, not how these are made."""
