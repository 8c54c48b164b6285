"""The edge of the API: what is checked before a request reaches a route, and the server that holds the connections."""
