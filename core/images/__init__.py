"""Images as bytes: decoding what comes in, the options of postprocessing."""
