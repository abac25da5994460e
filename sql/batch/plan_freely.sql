-- What plan_by_hash.sql forbade.
set local enable_nestloop = on;
set local enable_mergejoin = on
