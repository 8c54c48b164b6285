"""One suite a protocol, run over everything that implements it."""
