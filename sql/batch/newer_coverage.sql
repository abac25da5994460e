-- Whether somebody published the hour from further on in the log than what is prepared.
select exists (
    select
    from batch_coverage covered
    left join prepared_frontiers prepared using (log_partition)
    where covered.hour_start = :hour and covered.next_offset > coalesce(prepared.next_offset, 0)
)
