"""eebench."""
