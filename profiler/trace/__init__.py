"""Chrome traces: reading, writing, and what happened in them."""
