# MLflow for whoever loads models over the network. Build: docker build -f infra/docker/tracking.Dockerfile .
FROM python:3.11.13-slim-bookworm
COPY infra/constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt mlflow psycopg2-binary fastapi \
    && useradd --uid 10001 --create-home rpe
USER 10001
ENV DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true MLFLOW_BACKEND_STORE_URI=sqlite:////srv/rpe/mlflow.db
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", \
    "--artifacts-destination", "/srv/rpe/mlartifacts"]
