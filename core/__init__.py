"""The nouns of Safelight: what a job is and what may happen to it. Imports neither api, worker nor cli."""
