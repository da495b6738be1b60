# The four R services in one image; the first argument says which one a container is.
ARG BASE=docker.io/library/debian:12.11-slim

FROM ${BASE} AS runtime
COPY r_plumber/apt-packages.txt /tmp/
# Packages have no versions here: Debian keeps only the newest of a stable release, and that is the one with the
# security fixes. The SBOM says which they were. The compiler stays out of this stage; of what comes with it,
# RcppParallel asks dpkg-architecture where libraries are.
# hadolint ignore=DL3008
RUN apt-get update && \
    sed -e 's/#.*//' -e 's/^r-base-dev\b/dpkg-dev/' /tmp/apt-packages.txt > /tmp/packages && \
    DEBIAN_FRONTEND=noninteractive xargs --arg-file=/tmp/packages apt-get install --yes --no-install-recommends && \
    apt-get clean && \
    rm -rf /var/lib/apt/lists/* /tmp/*

# Models are named after the versions of what reads them, so they are compiled with the very packages of `runtime`.
FROM runtime AS models
# hadolint ignore=DL3008
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends r-base-dev
COPY r_plumber/growth /tmp/growth
RUN Rscript /tmp/growth/compile.R /opt/seedtest/growth-models

FROM runtime
RUN groupadd --gid 10001 seedtest && \
    useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin seedtest
COPY --from=models /opt/seedtest/growth-models /opt/seedtest/growth-models
COPY r_plumber /opt/seedtest/r_plumber
ENV R_BRMS_MODELS_DIR=/opt/seedtest/growth-models
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
# R, as process 1, would not hear SIGTERM.
STOPSIGNAL SIGINT
# bash alone: neither curl nor a second R. /healthz, not /readyz: a service that is busy or loading is not ill.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=6 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8000 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["Rscript", "/opt/seedtest/r_plumber/common/serve.R"]
CMD ["--help"]
ARG SOURCE
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="seedtest/r-services" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
