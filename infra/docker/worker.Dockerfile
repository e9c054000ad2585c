# A worker: the platform on the CPU, started by the pool `rpe`. Build: docker build -f infra/docker/worker.Dockerfile .
FROM python:3.11.13-slim-bookworm
COPY infra/constraints.txt /tmp/constraints.txt
# the index decides the build of torch: --build-arg PIP_INDEX_URL=... for one of your own
ARG PIP_INDEX_URL
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt torch
COPY pyproject.toml README.md /opt/rpe/
COPY rpe_core /opt/rpe/rpe_core
COPY catalog /opt/rpe/catalog
COPY flows /opt/rpe/flows
COPY infra /opt/rpe/infra
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt --editable '/opt/rpe[servers]' \
    && useradd --uid 10001 --create-home rpe \
    && install --directory --owner=rpe --mode=0700 /srv/rpe
USER 10001
WORKDIR /opt/rpe
ENV RPE_HOME=/srv/rpe DO_NOT_TRACK=true PREFECT_SERVER_ANALYTICS_ENABLED=false
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
CMD ["prefect", "worker", "start", "--pool", "rpe", "--with-healthcheck"]
