"""The speed layer: makes each observation visible within a second of its arrival, exactly once."""
