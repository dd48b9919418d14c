"""The node's settings: the sections (`schema`), their sources (`load`), and how they are shown
(`explain`)."""
