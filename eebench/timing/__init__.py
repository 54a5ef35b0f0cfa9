"""Wall-clock and energy: who is timed on which path, in which rounds."""
