"""Programs that `test_extension.py` runs in a copy of the project which has one parameter, generator or event more."""
