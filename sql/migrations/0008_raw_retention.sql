-- Months of raw_data that only the archive has: from where on PostgreSQL still holds it, and what lets go of a month.

set local role lambda_owner;

create table raw_floor (                    -- no row: nothing was ever dropped
    only_row boolean primary key default true check (only_row),
    floor_at timestamptz not null,          -- the first instant that raw_data has a place for; it only ever rises
    moved_at timestamptz not null default now()
);

-- As before, and never again for a month that was dropped: nobody would know what it held.
create or replace function ensure_raw_partition(month_start timestamptz) returns void
    language plpgsql security definer set search_path = public, pg_temp
as $$
declare
    first timestamptz := date_trunc('month', month_start, 'UTC');
    partition_name text := 'raw_data_' || to_char(first at time zone 'UTC', 'YYYY_MM');
begin
    if first < (select floor_at from raw_floor) then
        raise exception 'raw_data does not hold % any more, the archive does', to_char(first at time zone 'UTC', 'YYYY-MM');
    end if;
    if to_regclass('public.' || partition_name) is null then
        perform pg_advisory_xact_lock(hashtext('lambda_pipeline raw_data partitions'));
        if to_regclass('public.' || partition_name) is null then
            -- attached, not created in place: that would wait for every reader of raw_data, and all others for it
            execute format('create table %I (like raw_data including all excluding identity)', partition_name);
            execute format(
                'alter table raw_data attach partition %I for values from (%L) to (%L)',
                partition_name, first, date_trunc('month', first + interval '32 days', 'UTC'));
        end if;
    end if;
end
$$;

-- Drops a month (UTC) of raw_data and raises the floor to its end; or drops nothing and says why. The caller has read the
-- archives of its city days back: `versions` maps each of those days to the manifest's version that was verified. All
-- else is looked at here, under the locks that whatever stores, serves live or publishes takes, in their order: raw,
-- publish, raw_data itself.
create function drop_raw_month(month_start timestamptz, versions jsonb) returns text
    language plpgsql security definer set search_path = public, pg_temp
as $$
declare
    first timestamptz := date_trunc('month', month_start, 'UTC');
    until timestamptz := date_trunc('month', first + interval '32 days', 'UTC');
    partition_name text := 'raw_data_' || to_char(first at time zone 'UTC', 'YYYY_MM');
    found text;
begin
    if until > now() - interval '8 days' then
        return 'it is not over for long enough';
    end if;
    perform pg_advisory_xact_lock(1719258, 2);  -- raw: lambda_pipeline/storage/locks.py
    perform pg_advisory_xact_lock(1719258, 1);  -- publish
    perform set_config('lock_timeout', '3s', true);  -- whoever wants raw_data queues behind the next line
    lock table only raw_data in access exclusive mode;
    if to_regclass('public.' || partition_name) is null then
        return 'raw_data holds nothing of it';
    end if;
    select min(inhrelid::regclass::text) into found
    from pg_inherits where inhparent = 'raw_data'::regclass and inhrelid::regclass::text < partition_name;
    if found is not null then
        return format('%s is older, and still there', found);
    end if;
    -- Every city day with a row in the month, the days that lie in two months included.
    select string_agg(format('%s %s', city_date, reason), '; ' order by city_date) into found
    from (
        select
            day.city_date,
            case
                when kept.verified_at is null then 'has no verified archive'
                when kept.version::text is distinct from versions ->> day.city_date::text
                    then 'was archived anew meanwhile'
                when kept.rows <> day.rows or day.is_beyond then 'has rows that its archive does not hold'
                when day.is_unpublished then 'has an hour that is not published as it is stored'
            end as reason
        from (
            select
                stored.city_date, sum(stored.rows) as rows,
                bool_or(stored.max_offset >= coalesce((kept.covered ->> stored.log_partition::text)::bigint, 0))
                    as is_beyond,
                bool_or(stored.max_offset >= coalesce(covered.next_offset, 0)) as is_unpublished
            from raw_hours stored
            left join raw_archives kept using (city_date)
            left join batch_coverage covered using (hour_start, log_partition)
            where stored.city_date in (
                select city_date from raw_hours where hour_start < until and hour_start + interval '1 hour' > first)
            group by stored.city_date
        ) day
        left join raw_archives kept using (city_date)
    ) judged
    where reason is not null;
    if found is not null then
        return found;
    end if;
    if exists (select from realtime_data where hour_start < until) then
        return 'the speed layer still serves an observation of it';
    end if;
    execute format('drop table %I', partition_name);
    insert into raw_floor as known (floor_at) values (until)
    on conflict (only_row) do update set floor_at = greatest(known.floor_at, excluded.floor_at), moved_at = now();
    -- Part of what records are judged by: whoever judged by the floor of before judges again.
    update deployment set catalogue_version = catalogue_version + 1;
    return null;
end
$$;

reset role;

revoke execute on function drop_raw_month(timestamptz, jsonb) from public;
grant execute on function drop_raw_month(timestamptz, jsonb) to lambda_writer;
