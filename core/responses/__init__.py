"""The JSON of jobs, images and files, in Safelight's format and in OpenAI's."""
