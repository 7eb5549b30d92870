# Fireside on a CPU: `fireside chat` in a terminal.
#
#     docker build -t fireside .
#     docker run --rm -it -v fireside-data:/data fireside
#
# llama-cpp-python comes as source and is compiled here (some minutes) for the machine that builds the image. For an image
# that runs on other CPUs too, add: --build-arg CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON"

FROM python:3.11-slim AS build
ARG CMAKE_ARGS=""
RUN apt-get update \
 && apt-get install --yes --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/fireside
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY bot bot
COPY evals evals
COPY persona persona
COPY seeds seeds
RUN /opt/fireside/bin/pip install --no-cache-dir .

FROM python:3.11-slim
# llama.cpp's threads are OpenMP's.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home fireside \
 && install --directory --owner=fireside --group=fireside /data
COPY --from=build /opt/fireside /opt/fireside
USER fireside
WORKDIR /home/fireside
ENV PATH="/opt/fireside/bin:$PATH" FIRESIDE_DATA_DIR=/data
# The index is built on the first start, and kept here.
VOLUME /data
ENTRYPOINT ["fireside"]
CMD ["chat"]
