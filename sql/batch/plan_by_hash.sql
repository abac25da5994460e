-- What follows joins all that both layers hold of the hours. The rows may just have been stored: without statistics that
-- know them the planner expects none, and would search all of one side for every row of the other, or merge by time alone.
set local enable_nestloop = off;
set local enable_mergejoin = off
