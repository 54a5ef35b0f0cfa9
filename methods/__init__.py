"""The built-in methods, one folder each. Installed as ``eebench_methods``; the engine finds them by entry point only."""
