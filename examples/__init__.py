"""Short scripts, one for each capability: `python -m examples.NAME`."""
