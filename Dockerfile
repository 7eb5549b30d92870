# The image of every way to run Fireside: `docker compose` starts it (docker-compose.yml, docs/deploying.md). Alone, in a
# terminal:
#
#     docker build -t fireside .
#     docker run --rm -it -v fireside-data:/data fireside
#
# It needs BuildKit, which Docker has used by itself since version 23. deploy/compose.cuda.yml builds it for NVIDIA GPUs by
# other values of these arguments. Both bases have apt, and a Python of their own (3.11 here, 3.12 on Ubuntu 24.04).
ARG BUILD_BASE=debian:bookworm-slim
ARG RUN_BASE=debian:bookworm-slim

FROM ${BUILD_BASE} AS tools
# The distribution deletes old versions of its packages, so none is named.
# hadolint ignore=DL3008
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    build-essential ca-certificates cmake ninja-build python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/fireside
ENV PATH=/opt/fireside/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

# One line of constraints.txt: while it stays the same, so does what follows from it.
FROM tools AS pin
COPY constraints.txt ./
RUN grep '^llama_cpp_python==' constraints.txt > llama.txt

# llama.cpp comes as source and takes some minutes. This stage depends on its version and flags alone: a change to our code
# or to another pin doesn't compile it anew.
FROM tools AS wheel
# Not "native": the image may run on another machine than the one that built it, and would die there of an instruction that
# it lacks (SIGILL). With GGML_NATIVE=OFF llama.cpp uses AVX2, FMA, F16C and BMI2 on x86-64: Intel since 2013, AMD since
# 2015; plain ARMv8 on ARM. A virtual machine has to pass them on (CPU model "host" or "x86-64-v3"). For an image that
# stays where it is built: --build-arg CMAKE_ARGS=-DGGML_NATIVE=ON. For older CPUs: CMAKE_ARGS="-DGGML_NATIVE=OFF
# -DGGML_AVX=OFF -DGGML_AVX2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF -DGGML_BMI2=OFF".
ARG CMAKE_ARGS=-DGGML_NATIVE=OFF
COPY --from=pin /src/llama.txt ./
# Without pip's cache, which would give back a wheel that was made with other CMAKE_ARGS.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels --requirement llama.txt

FROM tools AS app
COPY --from=wheel /wheels /wheels
COPY pyproject.toml constraints.txt ./
# First the dependencies, with nothing of ours in the package: this layer lasts while those two files do.
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir bot docs evals persona seeds \
 && touch README.md docs/scores.json docs/reliability.png \
 && pip install --find-links /wheels --only-binary llama-cpp-python --constraint constraints.txt '.[discord,slack]'
COPY README.md LICENSE ./
COPY docs/scores.json docs/reliability.png docs/
COPY bot bot
COPY evals evals
COPY persona persona
COPY seeds seeds
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --force-reinstall . \
 && pip check

FROM ${RUN_BASE}
# libgomp1: llama.cpp's threads are OpenMP's. A named volume takes its owner from the folder that it is first mounted on.
# hadolint ignore=DL3008
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates libgomp1 python3 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 fireside \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fireside \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data /data/models
COPY --from=app /opt/fireside /opt/fireside
# Nothing but /data and /tmp is written: the root may be read-only, and HOME (CUDA's cache) is not kept.
ENV PATH=/opt/fireside/bin:$PATH \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FIRESIDE_DATA_DIR=/data
# A fireside.toml goes here.
WORKDIR /etc/fireside
USER 10001:10001
# The index (where no Chroma server is set), the store and the chat models.
VOLUME /data
# /healthz, /readyz and /metrics; Slack's HTTP mode.
EXPOSE 9464 3000
ENTRYPOINT ["fireside"]
CMD ["chat"]
