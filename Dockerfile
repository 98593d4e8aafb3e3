# The HTTP API alone, without database and dashboard: docker build -t miles-api . (docs/deploy.md has the hosts)
ARG PYTHON=docker.io/library/python:3.11-slim
FROM ${PYTHON}

WORKDIR /app
COPY requirements-api.txt ./
# numpy brings 15 MB of its own tests.
RUN pip install --no-cache-dir --no-deps -r requirements-api.txt \
    && find "$(python -c 'import numpy; print(numpy.__path__[0])')" -type d -name tests -prune -exec rm -r {} +
COPY model ./model
COPY miles ./miles
RUN python -m compileall -q miles

# 1000 is the user that Hugging Face Spaces run containers as; a number, so that Kubernetes can see that it is not root.
USER 1000:1000
# MALLOC_ARENA_MAX: glibc keeps freed memory for each thread apart; two such places are enough and save 100 MB.
ENV PORT=7860 HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=4)"]
CMD ["python", "-m", "miles.api"]
