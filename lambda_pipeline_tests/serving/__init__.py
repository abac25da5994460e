"""Tests of what serving computes by itself."""
