"""eebench's own data sets, one or one family a file. Each names itself as ``KIND`` and imports its libraries late."""
