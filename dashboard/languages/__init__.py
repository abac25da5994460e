"""The words of the page: one module per language, each with exactly English's keys."""
