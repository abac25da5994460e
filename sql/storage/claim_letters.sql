-- The next open dead letters in the order in which they were met, for this transaction alone: what another retry has
-- under way is left to it.
select id, payload
from dead_letters
where retried_at is null
  and id > :after
  and (cast(:ids as bigint[]) is null or id = any(cast(:ids as bigint[])))
  and (cast(:since as timestamptz) is null or appended_at >= cast(:since as timestamptz))
  and (cast(:reason as text) is null or position(lower(cast(:reason as text)) in lower(error)) > 0)
order by id
limit :limit
for update skip locked
