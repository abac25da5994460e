"""The project's promise, attacked: random histories on a real PostgreSQL with the real code.

`model` says what the tables ought to hold, `operations` are the platform's transactions with what the model says of
each, `moments` stops one between or within its statements, `reading` is what the tables hold. `machine` plays,
`forgetting` and `interrupting` add what else may happen.
"""
