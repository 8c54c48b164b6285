"""The files of models: what they are, and what is wrong with them."""
