# syntax=docker/dockerfile:1
# One image for every service of docker-compose.yml but the servers': what differs is the command.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# What builds is apart from what runs, and the latter is made without pip: neither gets into the image.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/lambda
COPY requirements/base.txt requirements/build.txt requirements/
RUN /opt/build/bin/pip --python /opt/lambda install --require-hashes --only-binary :all: -r requirements/base.txt \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt
# A sixth of it is never read: other packages' own tests and headers, what maps scripts to their sources.
RUN find /opt/lambda \( -path '*/pandas/tests' -o -path '*/pyarrow/tests' -o -path '*/pyarrow/include' \
    -o -path '*/pydeck/nbextension' -o -name '*.js.map' \) -prune -exec rm -r {} +
COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/build/bin/pip --python /opt/lambda install --no-deps --no-index /dist/*.whl

FROM python:3.13-slim
RUN groupadd --gid 10001 lambda \
    && useradd --uid 10001 --gid lambda --no-create-home --home-dir /srv/lambda --shell /usr/sbin/nologin lambda \
    && install -d -o lambda -g lambda /srv/lambda /srv/lambda/dagster /srv/lambda/dagster/storage /var/lib/lambda
COPY --from=build /opt/lambda /opt/lambda
COPY dagster.yaml workspace.yaml /srv/lambda/dagster/
ENV PATH=/opt/lambda/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    PYTHONWARNINGS=ignore \
    DAGSTER_HOME=/srv/lambda/dagster \
    DAGSTER_DISABLE_TELEMETRY=1 \
    DAGSTER_EVENT_BATCH_SIZE=1000 \
    LAMBDA_HOME=/var/lib/lambda
WORKDIR /srv/lambda
USER 10001:10001
CMD ["lambda-pipeline", "--help"]
