# Made of asynchronous/__init__.py by `python clients/generate.py`: do not edit.
"""The client in its synchronous form: made of `asynchronous/` by clients/generate.py."""
