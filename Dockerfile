# One image for engine, server and migrations: `docker build -t tidegate .`
# Bytewax's wheels for x86_64 need glibc 2.31 or later and Python 3.11 or 3.12: hence Debian, not Alpine.

# The full image of the same Python has the C compiler that the build needs.
FROM python:3.11-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/tidegate
COPY deploy/requirements.lock ./
RUN /opt/tidegate/bin/pip install --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml setup.py README.md ./
COPY segmentation ./segmentation
COPY flows ./flows
COPY storage ./storage
COPY grpc_server ./grpc_server
COPY console ./console
COPY loadtest ./loadtest
RUN /opt/tidegate/bin/pip install --no-deps --no-build-isolation . \
 && /opt/tidegate/bin/python -I -c "import segmentation.native._native"

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 tidegate \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /srv/tidegate tidegate \
 && install -d -o tidegate -g tidegate /srv/tidegate /var/lib/tidegate
COPY --from=build /opt/tidegate /opt/tidegate
COPY deploy/healthcheck.py /opt/tidegate/healthcheck.py
ENV PATH=/opt/tidegate/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
# The operators' folder is mounted at /srv/tidegate/segment_defs, checkpoints go to /var/lib/tidegate.
WORKDIR /srv/tidegate
VOLUME /var/lib/tidegate
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidegate"]
CMD ["--help"]
