"""`/mcp`: tools for agents, in the Model Context Protocol.

`routes` and `protocol` receive the requests. Everything else here imports the package `mcp`, an optional extra that
takes half a second to import, so it is imported with the first request.
"""
