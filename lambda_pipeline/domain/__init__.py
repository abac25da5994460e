"""What an observation is, and the rules that judge it. Pure: no I/O, no framework, no clock of its own."""
