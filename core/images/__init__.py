"""Decoding of input images, and the options of postprocessing."""
