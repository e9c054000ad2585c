-- Run once by the image of PostgreSQL, when its volume is new.
CREATE DATABASE rpe_lake OWNER rpe;
CREATE DATABASE rpe_mlflow OWNER rpe;
CREATE DATABASE rpe_prefect OWNER rpe;
