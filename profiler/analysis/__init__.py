"""Pure functions from records to answers."""
