"""The API of AUTOMATIC1111's stable-diffusion-webui, `/sdapi/v1`, over jobs. docs/webui.md says what differs."""
