-- Dead letters that nobody needs any more. A position must stay a dead letter for as long as a layer may read it again
-- (speed/find_dead, batch/insert_raw), or the layers would judge it by different catalogues: so only below the offset of
-- the speed layer *and* the frontier of raw_data, neither of which ever goes back.
delete from dead_letters
where id in (
    select letter.id
    from dead_letters letter
    join stream_offsets consumed
        on consumed.log_partition = letter.log_partition and letter.log_offset < consumed.next_offset
    join raw_frontier stored
        on stored.log_partition = letter.log_partition and letter.log_offset < stored.next_offset
    where letter.created_at < now() - make_interval(days => :days)
       or letter.retried_at < now() - make_interval(days => :retried_days)
    limit :limit
)
