"""OpenAI's images calls over jobs: generations, edits, variations."""
