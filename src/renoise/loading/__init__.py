"""Finding models and loading them: by name, from the hub, from single files, with their adapters."""
