"""Results as named values, tables and plots. They know the results of states, not how these are made."""
