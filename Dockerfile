# The connector, and the edge of one's own, as one image: docs/deploy.md.
FROM python:3.13-slim AS build
WORKDIR /source
COPY . .
ARG EXTRAS=fast
RUN python -m venv /opt/pyconnector \
    && /opt/pyconnector/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="pyconnector" org.opencontainers.image.licenses="Apache-2.0"
# /var/lib/pyconnector is for what an edge keeps; a named volume there belongs to the user too.
RUN groupadd --system --gid 65532 pyconnector \
    && useradd --system --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pyconnector \
    && install -d -o 65532 -g 65532 -m 0700 /var/lib/pyconnector
COPY --from=build /opt/pyconnector /opt/pyconnector
# The second name is what compose files and manifests of the reference start.
RUN ln -s /opt/pyconnector/bin/pyconnector /usr/local/bin/pyconnector \
    && ln -s /opt/pyconnector/bin/pyconnector /usr/local/bin/cloudflared
ENV TUNNEL_METRICS=0.0.0.0:2000 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 2000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s CMD ["pyconnector", "ready"]
ENTRYPOINT ["pyconnector"]
CMD ["version"]
