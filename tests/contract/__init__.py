"""One suite for each protocol, run over everything that implements it."""
