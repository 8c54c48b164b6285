"""The studio: the web pages at `/`, their files, and signing in with an API key."""
