#!/bin/sh
# Inside, as root: have the machine boot one of Debian's kernels the next time.
#
#   kernel.sh 5.10 bullseye
set -eu

version=$1
suite=$2
export DEBIAN_FRONTEND=noninteractive
case $(uname -r) in "$version".*) exit 0 ;; esac

apt-get update -qq
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' \
  'Component: main' | head -n 1)
echo "deb $uri $suite main" >/etc/apt/sources.list.d/kernel.list
# The kernel comes from there, and nothing else.
printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$suite" >/etc/apt/preferences.d/kernel
[ "$suite" != bookworm ] || rm /etc/apt/sources.list.d/kernel.list /etc/apt/preferences.d/kernel
apt-get update -qq
image=$(apt-cache search --names-only "^linux-image-$(echo "$version." | sed 's/\./[.]/g')[^ ]*-amd64\$" |
  cut -d' ' -f1 | grep -vE -e '-(cloud|rt)-' | sort -V | tail -n 1)
[ -n "$image" ] || { echo "Debian $suite has no kernel $version" >&2; exit 1; }
apt-get install -qq --no-install-recommends -t "$suite" "$image" >/dev/null
release=${image#linux-image-}
# By its name in the menu: the newest would be booted otherwise.
sed -i '/^GRUB_DEFAULT=/d' /etc/default/grub
echo "GRUB_DEFAULT=\"Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux $release\"" \
  >>/etc/default/grub
update-grub
