"""What runs the assets: the job and its schedules, the sensors, and the backfill that the command line starts."""
