# Fills the cache: programs in bin/, container images in images/, custom resource definitions in crds/.
# shellcheck shell=bash

# A program of the cache has its version in a file beside it, so that a changed version is built anew.
cached() { [[ -e $CACHE/$1 && $(cat "$CACHE/$1.version" 2>/dev/null) == "$2" ]]; }
mark() { echo "$2" >"$CACHE/$1.version"; }

install_packages() {
  local missing=() package
  for package in containerd runc containernetworking-plugins iptables ipset conntrack socat iproute2 ethtool kmod \
    openssl busybox-static procps util-linux; do
    [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "cluster: installing ${missing[*]}"
  apt-get update -qq
  # The packages of daemons start them; this cluster starts its own containerd, and no other is wanted.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

go_build() { # OUTPUT LDFLAGS PACKAGE…, in a module of its own
  local output=$1 flags=$2
  shift 2
  CGO_ENABLED=0 GOFLAGS=-mod=mod nice go build -trimpath -buildvcs=false -ldflags "-s -w $flags" -o "$output" "$@"
}

go_install() { # NAME VERSION LDFLAGS PACKAGE@VERSION
  cached "bin/$1" "$2" && return
  say "cluster: building $1 $2"
  CGO_ENABLED=0 GOFLAGS='' GOBIN=$CACHE/bin nice go install -trimpath -buildvcs=false -ldflags "-s -w $3" "$4"
  mark "bin/$1" "$2"
}

module_folder() { # MODULE@VERSION: where its source lies
  go mod download "$1" >&2
  echo "$(go env GOMODCACHE)/$1"
}

# Kubernetes is published as one module that names its own parts by path; a module of ours must name their versions.
kubernetes_module() {
  local source
  source=$(module_folder "k8s.io/kubernetes@v$KUBERNETES_VERSION")
  echo 'module parley.test/kubernetes'
  grep -E '^(go|godebug) ' "$source/go.mod"
  echo "require k8s.io/kubernetes v$KUBERNETES_VERSION"
  echo "require go.etcd.io/etcd/server/v3 v$ETCD_VERSION"
  sed -nE "s#^\s*(k8s.io/[a-z-]+) => \./staging/.*#replace \1 => \1 v0.${KUBERNETES_VERSION#1.}#p" "$source/go.mod"
}

# Without these the programs call themselves v0.0.0 and refuse each other as too old.
kubernetes_flags() {
  local minor=${KUBERNETES_VERSION#1.} package
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    echo "-X $package.gitVersion=v$KUBERNETES_VERSION -X $package.gitMajor=1 -X $package.gitMinor=${minor%.*}"
  done | tr '\n' ' '
}

build_kubernetes() {
  local version=$KUBERNETES_VERSION+etcd-$ETCD_VERSION folder=$CACHE/build/kubernetes
  cached bin/kubelet "$version" && return
  say "cluster: building Kubernetes $KUBERNETES_VERSION and etcd $ETCD_VERSION; the first time this takes long"
  mkdir -p "$folder"
  kubernetes_module >"$folder/go.mod"
  (
    cd "$folder"
    go_build "$CACHE/bin/" "$(kubernetes_flags)" \
      k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl}
    go_build "$CACHE/bin/etcd" '' go.etcd.io/etcd/server/v3
  )
  mark bin/kubelet "$version"
}

build_coredns() {
  local folder=$CACHE/build/coredns
  cached bin/coredns "$COREDNS_VERSION" && return
  say "cluster: building CoreDNS $COREDNS_VERSION"
  mkdir -p "$folder"
  cp "$HERE/programs/coredns/main.go" "$folder/"
  printf 'module parley.test/coredns\ngo 1.26.0\nrequire github.com/coredns/coredns v%s\n' "$COREDNS_VERSION" \
    >"$folder/go.mod"
  (cd "$folder" && go_build "$CACHE/bin/coredns" '' .)
  mark bin/coredns "$COREDNS_VERSION"
}

build_pause() {
  cached bin/pause "$PAUSE_VERSION" && return
  (cd "$HERE/programs/pause" && GO111MODULE=off go_build "$CACHE/bin/pause" '' .)
  mark bin/pause "$PAUSE_VERSION"
}

build_helm() {
  local minor=${KUBERNETES_VERSION#1.} package flags
  flags="-X helm.sh/helm/v3/internal/version.version=v$HELM_VERSION"
  # What `helm template` and `helm lint` take for the cluster's version; unset, it is one of years ago.
  for package in helm.sh/helm/v3/pkg/lint/rules helm.sh/helm/v3/pkg/chartutil; do
    flags+=" -X $package.k8sVersionMajor=1 -X $package.k8sVersionMinor=${minor%.*}"
  done
  go_install helm "$HELM_VERSION" "$flags" "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION"
}

# write_image NAME FOLDER ENTRYPOINT: an image of one layer, as `docker save` would write it, without a docker.
write_image() {
  local name=$1 root=$2 entrypoint=$3 work
  work=$(mktemp -d)
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$root" -cf "$work/layer.tar" .
  printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":%s,"Env":["PATH=/bin"]},"rootfs":{"type":"layers",' \
    "$(go env GOARCH)" "$entrypoint" >"$work/config.json"
  printf '"diff_ids":["sha256:%s"]}}' "$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)" >>"$work/config.json"
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" >"$work/manifest.json"
  tar -C "$work" -cf "$CACHE/images/$(basename "${name%:*}").tar" manifest.json config.json layer.tar
  rm -rf "$work"
}

build_program_image() { # PROGRAM VERSION
  local root
  cached "images/$1.tar" "$2" && return
  root=$(mktemp -d)
  chmod 755 "$root"
  cp "$CACHE/bin/$1" "$root/$1"
  write_image "parley-e2e/$1:$2" "$root" "[\"/$1\"]"
  rm -rf "$root"
  mark "images/$1.tar" "$2"
}

# The storage provisioner makes and removes folders with it; tests may use it for anything that a shell can do.
build_busybox_image() {
  local root applet
  cached images/busybox.tar "$BUSYBOX_VERSION" && return
  root=$(mktemp -d)
  chmod 755 "$root"
  install -d "$root"/{bin,etc,home,var} && install -d -m 1777 "$root/tmp"
  cp /bin/busybox "$root/bin/busybox"
  for applet in $(/bin/busybox --list); do
    [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
  done
  write_image "parley-e2e/busybox:$BUSYBOX_VERSION" "$root" '["/bin/sh"]'
  rm -rf "$root"
  mark images/busybox.tar "$BUSYBOX_VERSION"
}

build_all() {
  mkdir -p "$CACHE"/{bin,images,build}
  install_packages
  build_kubernetes
  build_coredns
  build_pause
  build_helm
  go_install kube-router "$KUBE_ROUTER_VERSION" '' \
    "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router@v$KUBE_ROUTER_VERSION"
  go_install local-path-provisioner "$LOCAL_PATH_VERSION" '' \
    "github.com/rancher/local-path-provisioner@v$LOCAL_PATH_VERSION"
  build_program_image pause "$PAUSE_VERSION"
  build_program_image coredns "$COREDNS_VERSION"
  build_busybox_image
}

# The definitions come from the modules of the projects that own them.
collect_crds() {
  local version=$CERT_MANAGER_VERSION+$KEDA_VERSION+$PROMETHEUS_OPERATOR_VERSION folder=$CACHE/crds
  cached crds "$version" && return
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$(module_folder "github.com/cert-manager/cert-manager@v$CERT_MANAGER_VERSION")"/deploy/crds/*.yaml "$folder/"
  cp "$(module_folder "github.com/kedacore/keda/v2@v$KEDA_VERSION")"/config/crd/bases/*.yaml "$folder/"
  cp "$(module_folder "github.com/prometheus-operator/prometheus-operator@v$PROMETHEUS_OPERATOR_VERSION")"/example/prometheus-operator-crd/*.yaml \
    "$folder/"
  mark crds "$version"
}
