-- `moved_table` stands for the table's name.
insert into raw_data_duplicates (old_table, old_id, location, timestamp, reason, old_row)
select 'moved_table', judged.id, judged.location, judged.timestamp, judged.reason, to_jsonb(old)
from judged_rows judged
join legacy.moved_table old on old.ctid = judged.place
where judged.table_no = :table_no and judged.fate = 'duplicate'
order by judged.place
