-- What follows passes rows that this transaction deleted.
set local enable_indexscan = off;
set local enable_indexonlyscan = off
