-- `moved_table` stands for the table's name.
insert into raw_data_rejects (old_table, old_id, location, timestamp, reason, is_stored, old_row)
select
    'moved_table', judged.id, judged.location, case when isfinite(judged.timestamp) then judged.timestamp end,
    coalesce(judged.reason, 'out of range: ' || judged.bad_measures), judged.reason is null, to_jsonb(old)
from judged_rows judged
join legacy.moved_table old on old.ctid = judged.place
where judged.table_no = :table_no
    and (judged.fate = 'rejected' or judged.fate in ('moved', 'joined') and judged.bad_measures is not null)
order by judged.place
