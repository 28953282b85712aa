"""The one measuring loop, and the processes around it."""
