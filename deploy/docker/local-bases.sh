#!/usr/bin/env bash
# Makes the base images where no image registry is reachable, from Debian's packages and this machine's Node:
#   parley-local/build    Debian with Node and npm
#   parley-local/runtime  the C and C++ libraries and certificates, as small as distroless, without a shell
#   parley-local/nats     nats-server
# Needs root, docker and debootstrap. An image that is there already, from the same inputs, is kept.
set -euo pipefail
cd "$(dirname "$0")"

fail() { echo "local-bases: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail 'only root can make a Debian system; run it with sudo'
command -v debootstrap >/dev/null || fail 'debootstrap is missing: apt-get install debootstrap'
docker version >/dev/null || fail 'docker does not answer'

release=$(. /etc/os-release && echo "$VERSION_CODENAME")
inputs="$release $(dpkg --print-architecture) node-$(node --version) $(sha256sum local-bases.sh | cut -c 1-12)"

is_current() {
  [ "$(docker image inspect -f '{{index .Config.Labels "parley.inputs"}}' "parley-local/$1" 2>&1)" = "$inputs" ]
}

# Makes an image of a folder. $1: name, $2: folder, then the changes that docker import takes.
import() {
  local name=$1 folder=$2 changes=()
  shift 2
  for change in "$@" "LABEL parley.inputs=\"$inputs\""; do changes+=(--change "$change"); done
  tar -C "$folder" -c . | docker import "${changes[@]}" - "parley-local/$name" >/dev/null
  echo "parley-local/$name: made"
}

if is_current build && is_current runtime && is_current nats; then
  echo "parley-local/{build,runtime,nats}: there already, from $inputs"
  exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
path='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  awk -v release="$release" '$2 == release && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || fail "apt names no mirror of Debian $release; run apt-get update"
debian=$work/debian
debootstrap --variant=minbase --include=busybox,ca-certificates,nats-server "$release" "$debian" "$mirror" \
  >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; fail "debootstrap of $release from $mirror failed"; }

# The files of Debian packages, into the folder $1. Only what programs load: no texts.
copy_packages() {
  local folder=$1
  shift
  (cd "$debian" && chroot . dpkg -L "$@" | sed 's|^/||' | while read -r file; do
    case $file in usr/share/doc/* | usr/share/lintian/* | usr/share/man/* | usr/share/bug/*) continue ;; esac
    if [ -f "$file" ]; then echo "$file"; fi
  done | xargs cp -d --parents -t "$folder")
}

runtime=$work/runtime
mkdir -p "$runtime"/usr/{bin,lib,lib64,sbin} "$runtime"/{dev,etc/ssl/certs,home,proc,sys}
for folder in bin lib lib64 sbin; do ln -s "usr/$folder" "$runtime/$folder"; done
install -d -m 1777 "$runtime"/{tmp,var/tmp}
install -d -m 700 -o 65532 -g 65532 "$runtime/home/nonroot"
copy_packages "$runtime" libc6 libgcc-s1 libstdc++6
cp -p "$debian"/etc/ssl/certs/ca-certificates.crt "$runtime/etc/ssl/certs/"
cp -p "$debian"/usr/lib/os-release "$runtime/etc/"
printf '%s\n' 'root:x:0:0:root:/root:/sbin/nologin' 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' \
  >"$runtime/etc/passwd"
printf '%s\n' 'root:x:0:' 'nonroot:x:65532:' >"$runtime/etc/group"
echo 'hosts: files dns' >"$runtime/etc/nsswitch.conf"
import runtime "$runtime" "$path" 'USER 65532:65532' 'WORKDIR /home/nonroot'

nats=$runtime
copy_packages "$nats" nats-server
# The official image has busybox's wget, which health checks use.
cp "$debian/bin/busybox" "$nats/usr/bin/wget"
install -d -o 65532 -g 65532 "$nats/data"
mkdir -p "$nats/etc/nats"
echo 'jetstream { store_dir: /data }' >"$nats/etc/nats/nats-server.conf"
import nats "$nats" "$path" 'USER 65532:65532' \
  'ENTRYPOINT ["nats-server"]' 'CMD ["--config", "/etc/nats/nats-server.conf"]'

rm -r "$debian"/var/cache/apt "$debian"/var/lib/apt/lists
# Whatever this machine trusts, so that npm reaches its registry from a build as it does here.
cp /etc/ssl/certs/ca-certificates.crt "$debian/etc/ssl/certs/"
npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
mkdir -p "$debian/usr/local/lib/node_modules"
cp -L "$(command -v node)" "$debian/usr/local/bin/node"
cp -r "$npm" "$debian/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$debian/usr/local/bin/npm"
chroot "$debian" /usr/local/bin/node --version >/dev/null ||
  fail 'this Node needs libraries beyond the C++ ones; use one of nodejs.org or NodeSource'
import build "$debian" "$path" 'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt'
