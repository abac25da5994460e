select
    table_no,
    count(*) as rows,
    count(*) filter (where fate = 'moved') as moved,
    count(*) filter (where fate = 'joined') as joined,
    count(*) filter (where fate = 'duplicate') as duplicates,
    count(*) filter (where fate = 'rejected') as rejected,
    count(*) filter (where fate in ('moved', 'joined') and bad_measures is not null) as mended,
    min(timestamp) filter (where fate = 'moved') as first,
    max(timestamp) filter (where fate = 'moved') as last
from judged_rows
group by table_no
order by table_no
