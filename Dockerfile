# One image for the API, the worker, the migrations and the `tolem` command; docker-compose.yml says which is which.

ARG PYTHON=3.11-slim-trixie

FROM python:${PYTHON} AS dependencies
RUN python -m venv /venv
COPY requirements/main.txt /tmp/main.txt
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/main.txt

FROM python:${PYTHON}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin tolem
COPY --from=dependencies /venv /venv
WORKDIR /app
# .dockerignore is the list of what comes along.
COPY . /app
# Compiled once here: the user of the container cannot write beside the sources.
RUN python -m compileall -q /app \
 && printf '#!/bin/sh\nexec /venv/bin/python -m cli "$@"\n' > /usr/local/bin/tolem \
 && chmod 755 /usr/local/bin/tolem
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
# API and worker both drain on SIGTERM; the grace periods stand in docker-compose.yml.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "api"]
