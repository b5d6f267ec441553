-- Makes Tölem's roles and its database on any Postgres 14 or newer; safe to repeat, and how passwords are changed.
--
--   OWNER_PASSWORD=… APP_PASSWORD=… OPERATOR_PASSWORD=… psql -X -v ON_ERROR_STOP=1 -d postgres -f deploy/roles.sql
--
-- Run it as a superuser or as a role with CREATEROLE and CREATEDB. Passwords come by environment, because a command
-- line is seen by every user of the machine. With TEMPORAL_PASSWORD set it also makes Temporal's role and databases.

\getenv owner_password OWNER_PASSWORD
\getenv app_password APP_PASSWORD
\getenv operator_password OPERATOR_PASSWORD
\getenv temporal_password TEMPORAL_PASSWORD

-- Owns the tables and runs the migrations; row-level security is forced on it too.
select 'create role tolem_owner' where not exists (select from pg_roles where rolname = 'tolem_owner') \gexec
alter role tolem_owner with login password :'owner_password';
-- API and worker: sees the rows of one merchant at a time.
select 'create role tolem_app' where not exists (select from pg_roles where rolname = 'tolem_app') \gexec
alter role tolem_app with login password :'app_password';
-- The `tolem` command, and the worker's one look at all connections when it starts: sees every merchant.
select 'create role tolem_operator' where not exists (select from pg_roles where rolname = 'tolem_operator') \gexec
alter role tolem_operator with login password :'operator_password';

-- Who is no superuser may give a database only to a role of which it is a member.
grant tolem_owner to current_user;
select 'create database tolem owner tolem_owner'
    where not exists (select from pg_database where datname = 'tolem') \gexec
revoke connect, temporary on database tolem from public;
grant connect on database tolem to tolem_app, tolem_operator;

\if :{?temporal_password}
    select 'create role temporal' where not exists (select from pg_roles where rolname = 'temporal') \gexec
    alter role temporal with login password :'temporal_password';
    grant temporal to current_user;
    select format('create database %I owner temporal', name) from (values ('temporal'), ('temporal_visibility')) v(name)
        where not exists (select from pg_database where datname = name) \gexec
    revoke connect, temporary on database temporal from public;
    revoke connect, temporary on database temporal_visibility from public;
\endif
