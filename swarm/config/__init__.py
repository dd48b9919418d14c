"""The node's settings: what they are (`schema`), where they come from (`load`), how they are shown (`explain`)."""
