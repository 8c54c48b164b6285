"""The families of diffusers: a tiny pipeline of each, and what it can do."""
