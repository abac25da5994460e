"""The page that analysts read: layout and state over figures that are pure functions of serving's frames.

`app` lays out, `reading` reads once per refresh, `charts` and `maps` turn frames into figures, `aggregates` prepares
them, `texts` holds every word. No SQL and no rule of the domain lives here.
"""
