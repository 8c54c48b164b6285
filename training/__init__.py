"""Trains the bundled image model, unclip-mini, from nothing but data that packages ship.

One file per stage; `python -m training all` runs them in order. Nothing here is imported by the API or
the worker: what training leaves behind is the folder `models/unclip-mini`.
"""
