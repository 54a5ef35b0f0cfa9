"""The built-in methods, one folder each: installed as ``eebench_methods``, found by the engine as entry points."""
