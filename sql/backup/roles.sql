-- What a dump of a database does not hold, because it belongs to the server or to the database as a whole. As in the
-- first migration: roles that rows, functions and rights are given to.

do $roles$
declare
    role_name text;
begin
    foreach role_name in array array['lambda_owner', 'lambda_writer', 'lambda_reader'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I nologin', role_name);
        end if;
    end loop;
    execute format('grant create, temporary on database %I to lambda_owner', current_database());
    execute format('grant temporary on database %I to lambda_writer', current_database());
end
$roles$;

grant lambda_owner to current_user;
grant usage, create on schema public to lambda_owner;
grant usage on schema public to lambda_writer, lambda_reader;
