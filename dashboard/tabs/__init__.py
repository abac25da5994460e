"""One module per tab, each with a `show(data, context)` that only lays out: figures and tables come from elsewhere."""
