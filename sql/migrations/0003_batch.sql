-- The batch layer: which catalogue both layers judge by, what a publish found in the speed layer, catching up.

set local role lambda_owner;

-- Bumped whenever what validity depends on changes: the locations known, the start of history.
alter table deployment add column catalogue_version bigint not null default 1;

reset role;
