"""`safelight ...`: the command line. Imports the other packages lazily, so that `safelight --help` is quick."""
