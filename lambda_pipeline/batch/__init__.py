"""The batch layer: recomputes everything from the whole history, and publishes hours into what is served."""
