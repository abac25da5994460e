"""How a daemon is watched: its log, its metrics, and whether it goes on. Knows nothing of what the daemons do."""
