-- What follows joins all that both layers hold of the hours. The rows may just have been stored: without statistics that
-- know them the planner expects none, and would search all of one side for every row of the other.
set local enable_nestloop = off
