"""From a spec to a run directory: prepare, cells, scores, tables, record."""
