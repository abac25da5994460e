"""The serving layer at the size of a big city: every read beside a bare statement."""
