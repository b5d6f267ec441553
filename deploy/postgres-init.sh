#!/bin/sh
# Run once by the official Postgres image, on an empty volume: the roles and databases of deploy/roles.sql, with the
# passwords that stand in the secrets.
set -eu

password_in() {
    url=$(cat "/run/secrets/$1")
    url=${url#*://*:}
    printf '%s' "${url%%@*}"
}

OWNER_PASSWORD=$(password_in owner_database_url)
APP_PASSWORD=$(password_in database_url)
OPERATOR_PASSWORD=$(password_in operator_database_url)
TEMPORAL_PASSWORD=$(cat /run/secrets/temporal_password)
export OWNER_PASSWORD APP_PASSWORD OPERATOR_PASSWORD TEMPORAL_PASSWORD
psql -X -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres -f /deploy/roles.sql
