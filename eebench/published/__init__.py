"""Published cells: numbers as papers and re-runs print them, and what of them can be checked here."""
