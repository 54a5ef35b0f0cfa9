"""Find, describe, check and start a method."""
