"""The bundled image model's networks and its pipeline, in diffusers' standard form."""
