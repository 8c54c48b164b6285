"""The JSON of jobs, images and files, in Safelight's and in OpenAI's shape."""
