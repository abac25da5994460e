"""Traffic and air of a city, live and over the months: one exact answer out of a speed and a batch layer."""

__version__ = "0.1.0"
