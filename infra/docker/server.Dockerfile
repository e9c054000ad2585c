# The Prefect server: API and UI. Build: docker build -f infra/docker/server.Dockerfile .
FROM python:3.11.13-slim-bookworm
COPY infra/constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt prefect==3.8.8 fastapi \
    && useradd --uid 10001 --create-home rpe
USER 10001
ENV DO_NOT_TRACK=true PREFECT_SERVER_ANALYTICS_ENABLED=false
EXPOSE 4200
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:4200/api/health', timeout=4)"]
CMD ["prefect", "server", "start", "--host", "0.0.0.0", "--port", "4200"]
