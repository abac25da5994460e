"""The words of the page, a package per language: all with the same keys. A module holds what belongs together."""
