"""`safelight models`: the catalogue's models and their files."""
