select
    date_trunc('month', timestamp, 'UTC') as start,
    date_trunc('month', timestamp, 'UTC') + interval '1 month' as until,
    count(*) as rows
from judged_rows
where fate in ('moved', 'joined')
group by 1, 2
order by 1
