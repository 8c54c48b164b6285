"""The API of AUTOMATIC1111's stable-diffusion-webui, `/sdapi/v1`, over jobs. docs/a1111.md says what differs."""
