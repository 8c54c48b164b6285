"""OpenAI's images calls: generations, edits, variations."""
