#!/usr/bin/env bash
# Installs what is missing, builds Tandem, trains a CNN on Fashion-MNIST.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/tools/lib.sh"

PACKAGES=(g++ cmake ninja-build libdnnl-dev zlib1g-dev nlohmann-json3-dev libprotozero-dev
  libxbyak-dev dataset-fashion-mnist)

usage() {
  cat <<TEXT
usage: ./quickstart.sh [--help] [options of the example]

Trains a small convolutional network on the 60,000 images of Fashion-MNIST:
  1. installs the Debian packages that are missing (apt-get; with sudo when not root):
     ${PACKAGES[*]}
  2. builds the library and the example in build/release
  3. runs build/release/examples/fashion_mnist, which trains, saves, loads and predicts;
     its curves are left in runs/, which \`tensorboard --logdir runs\` shows

The last line printed is \`test accuracy: NN.NN %\`. It can be run again: only what changed is
built. Everything after the script's name is handed to the example.
TEXT
}

for argument in "$@"; do
  case "$argument" in
    -h | --help)
      usage
      exit 0
      ;;
  esac
done

cd "$TANDEM_ROOT"
say "Tandem quickstart: install, build, train a CNN on Fashion-MNIST"
install_packages "${PACKAGES[@]}"
need_command g++ cmake ninja

say "building (the first time takes some minutes)"
quietly build/release/logs/configure.log cmake -S . -B build/release -G Ninja \
  -DCMAKE_BUILD_TYPE=Release -DTANDEM_BUILD_EXAMPLES=ON -DTANDEM_BUILD_TESTS=OFF \
  -DTANDEM_BUILD_TOOLS=OFF
ninja -C build/release -j "$(cores)" fashion_mnist

say "training"
exec build/release/examples/fashion_mnist "$@"
