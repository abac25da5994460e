"""Tests of the domain: the rules at every boundary, without I/O."""
