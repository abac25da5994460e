-- What the migrations grant too much, taken back, and what a dump does not hold (the database's own rights), granted
-- again: run at every upgrade, as its user. lambda_pipeline_tests/security/test_roles.py says who may do what.

do $rights$
begin
    -- A reader's temporary tables are files on the server's disk.
    execute format('revoke create, temporary on database %I from public', current_database());
    execute format('grant create, temporary on database %I to lambda_owner', current_database());
    execute format('grant temporary on database %I to lambda_writer', current_database());
    -- Large objects are rows that every role may make. Only a superuser can change that.
    if (select rolsuper from pg_roles where rolname = current_user) then
        revoke execute on function lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) from public;
    end if;
end
$rights$;

revoke create on schema public from public;  -- a cluster of before PostgreSQL 15 has it

-- The first stored values of a key never change, in raw_data for ever, in realtime_data until they are published.
revoke update, delete on raw_data from lambda_writer;
revoke update on realtime_data, batch_aggregations, catch_up, archive_leftovers from lambda_writer;

-- Positions move and are never forgotten; nor are a city, its locations, and what was published.
revoke delete on
    log_partitions, stream_offsets, raw_frontier, log_gaps, raw_hours, batch_coverage, published_hours, city_hourly,
    peak_hours, peak_hours_analysis, latest_observations, deployment, locations, raw_archives
    from lambda_writer;

-- The rules of the domain are the upgrade's to write. The peak windows are the catalogue's, which daemons bring in.
revoke insert, update, delete on aqi_bands, traffic_levels, observed_peak_rules from lambda_writer;
revoke update on peak_windows from lambda_writer;
