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
if [ "$suite" != bookworm ]; then
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' \
    'Component: main' | head -n 1)
  [ -n "$uri" ] || { echo "apt here knows no Debian" >&2; exit 1; }
  echo "deb $uri $suite main" >/etc/apt/sources.list.d/kernel.list
  # Of what is there, only the kernel and what it cannot do without: make setup comes later.
  printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$suite" \
    >/etc/apt/preferences.d/kernel
  apt-get update -qq
fi
pattern="^linux-image-$(echo "$version." | sed 's/\./[.]/g')[^ ]*-amd64\$"
image=$(apt-cache search --names-only "$pattern" | cut -d' ' -f1 |
  grep -vE -e '-(cloud|rt)-' | sort -V | tail -n 1)
[ -n "$image" ] || { echo "Debian $suite has no kernel $version" >&2; exit 1; }
echo "installing $image"
apt-get install -qq --no-install-recommends -t "$suite" "$image" >/dev/null

# By its name in the menu: the newest would be booted otherwise.
release=${image#linux-image-}
update-grub
named() { sed -n "s/^[[:space:]]*$1 .*'\($2-[^']*\)'.*/\1/p" /boot/grub/grub.cfg | head -n 1; }
menu=$(named submenu gnulinux-advanced)
entry=$(named menuentry "gnulinux-$release-advanced")
[ -n "$entry" ] || { echo "GRUB's menu has no Linux $release" >&2; exit 1; }
mkdir -p /etc/default/grub.d
echo "GRUB_DEFAULT='${menu:+$menu>}$entry'" >/etc/default/grub.d/zz-kernel.cfg
update-grub
