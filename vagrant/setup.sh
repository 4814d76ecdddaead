#!/bin/sh
# Inside, as root: set the project up.
set -eu

cd "$1"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends make >/dev/null
make setup
