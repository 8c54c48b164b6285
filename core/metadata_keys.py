"""Keys that Safelight itself writes into the metadata of a job."""

END_USER_KEYS = ("user", "safety_identifier", "openai_user")
"""The keys of metadata that may contain the id of an end user: OpenAI's calls have two parameters for it."""

RESPONSE_MODEL_KEY, PREVIOUS_RESPONSE_KEY = "openai_response_model", "openai_previous_response"
"""The keys of metadata of a job that came by OpenAI's Responses API: what its response has to show again."""
