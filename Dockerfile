# The gateway, as a user without privileges, with its state in one volume.
#
#   docker build -t gateway .
#   docker run --rm -v gateway:/var/lib/gateway gateway init /var/lib/gateway --host gateway.example.com
#   docker run -d --name gateway -v gateway:/var/lib/gateway -p 8883:8883 gateway
#
# The first run writes a set-up (configuration, certificates, keys, an application's login) into the volume, the
# second one serves it. Nothing secret is in the image. `docker exec gateway gateway device list` and the like
# operate it: the commands find the set-up by GATEWAY_CONFIG.
# Applications log in on port 1883, which `gateway init` binds to loopback: what shares the container's network
# (`--network container:gateway`) reaches it; give that listener TLS in gateway.yaml before you publish it.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
# pyproject.toml has the ranges; every dependency has a wheel for this platform, so no compiler is needed.
RUN python -m venv /opt/gateway && /opt/gateway/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.13-slim
LABEL org.opencontainers.image.title="gateway" \
      org.opencontainers.image.description="A self-hosted MQTT device gateway" \
      org.opencontainers.image.licenses="MIT"

# A fixed number, so that the owner of a bind-mounted volume can be set from outside.
RUN groupadd --gid 10001 gateway \
 && useradd --uid 10001 --gid gateway --no-create-home --home-dir /var/lib/gateway --shell /usr/sbin/nologin gateway \
 && install --directory --owner gateway --group gateway --mode 0700 /var/lib/gateway

COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_CONFIG=/var/lib/gateway/gateway.yaml

# After the directory has its owner: a new volume takes it over from the image.
VOLUME /var/lib/gateway
EXPOSE 8883 1883
USER 10001:10001
WORKDIR /var/lib/gateway

# Succeeds when the device listener and the control socket answer.
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 \
    CMD ["gateway", "health", "-c", "/var/lib/gateway/gateway.yaml"]

ENTRYPOINT ["gateway"]
CMD ["serve", "-c", "/var/lib/gateway/gateway.yaml"]
