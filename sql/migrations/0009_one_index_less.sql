-- An hour's rows of all locations were scattered over this index, which took two thirds of the time to insert them. From
-- PostgreSQL 18 on, (hour_start, location) finds the hours of one location too: it skips from hour to hour.

set local role lambda_owner;

do $$
begin
    if current_setting('server_version_num')::integer >= 180000 then
        drop index batch_aggregations_location;
    end if;
end
$$;

reset role;
