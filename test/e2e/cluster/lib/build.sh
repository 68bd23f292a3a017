# Fills the cache: programs in bin/, container images in images/, custom resource definitions in crds/.
# shellcheck shell=bash

# A program of the cache has its version in a file beside it, so that a changed version is built anew.
cached() { [[ -e $CACHE/$1 && $(cat "$CACHE/$1.version" 2>/dev/null) == "$2" ]]; }
mark() { echo "$2" >"$CACHE/$1.version"; }

install_packages() {
  local missing=() package
  for package in containerd runc containernetworking-plugins iptables ipset iproute2 kmod openssl \
    busybox-static procps util-linux; do
    [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "cluster: installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

need_go() {
  local version
  version=$(go env GOVERSION 2>/dev/null) || die "needs Go $GO_VERSION or newer to build what $CACHE lacks"
  printf 'go%s\n%s\n' "$GO_VERSION" "$version" | sort --check=quiet --version-sort ||
    die "needs Go $GO_VERSION or newer, not $version"
}

go_build() { # OUTPUT LDFLAGS PACKAGE…, in a module of its own
  local output=$1 flags=$2
  shift 2
  need_go
  CGO_ENABLED=0 GOFLAGS=-mod=mod nice go build -trimpath -buildvcs=false -ldflags "-s -w $flags" -o "$output" "$@"
}

go_install() { # NAME VERSION LDFLAGS PACKAGE@VERSION
  cached "bin/$1" "$2" && return
  say "cluster: building $1 $2"
  need_go
  CGO_ENABLED=0 GOFLAGS='' GOBIN=$CACHE/bin nice go install -trimpath -buildvcs=false -ldflags "-s -w $3" "$4"
  mark "bin/$1" "$2"
}

module_folder() { # MODULE@VERSION: where its source lies
  need_go
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

# Programs of our own are known by their source.
source_version() { # PROGRAM VERSION
  echo "$2+$(sha256sum <"$HERE/programs/$1/main.go" | cut -c1-12)"
}

build_own() { # PROGRAM VERSION [REQUIREMENT]
  local folder=$CACHE/build/$1 version
  version=$(source_version "$1" "$2")
  cached "bin/$1" "$version" && return
  say "cluster: building $1 $2"
  mkdir -p "$folder"
  cp "$HERE/programs/$1/main.go" "$folder/"
  printf 'module parley.test/%s\ngo %s\n%s\n' "$1" "$GO_VERSION" "${3:+require $3}" >"$folder/go.mod"
  (cd "$folder" && go_build "$CACHE/bin/$1" '' .)
  mark "bin/$1" "$version"
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

# write_image NAME FOLDER ENTRYPOINT [USER]: an image of one layer, as `docker save` would write it, without a docker.
write_image() {
  local name=$1 root=$2 entrypoint=$3 user=${4:-0} work
  work=$(mktemp -d)
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$root" -cf "$work/layer.tar" .
  cat >"$work/config.json" <<JSON
{ "architecture": "$(go env GOARCH)", "os": "linux",
  "config": { "Entrypoint": $entrypoint, "User": "$user", "Env": ["PATH=/bin"] },
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)"] } }
JSON
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" >"$work/manifest.json"
  tar -C "$work" -cf "$CACHE/images/$(basename "${name%:*}").tar" manifest.json config.json layer.tar
  rm -rf "$work"
}

build_program_image() { # PROGRAM VERSION [USER]
  local root version
  version=$(cat "$CACHE/bin/$1.version")
  cached "images/$1.tar" "$version" && return
  root=$(mktemp -d)
  chmod 755 "$root"
  install -D "$CACHE/bin/$1" "$root/bin/$1"
  write_image "parley-e2e/$1:$2" "$root" "[\"/bin/$1\"]" "${3:-0}"
  rm -rf "$root"
  mark "images/$1.tar" "$version"
}

# The storage provisioner makes and removes folders with it. Tests may use it too, but not its wget: linked statically
# to this C library, it ends with a fault where it looks up a name.
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
  build_own coredns "$COREDNS_VERSION" "github.com/coredns/coredns v$COREDNS_VERSION"
  build_own pause "$PAUSE_VERSION"
  build_helm
  go_install kube-router "$KUBE_ROUTER_VERSION" '' \
    "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router@v$KUBE_ROUTER_VERSION"
  go_install local-path-provisioner "$LOCAL_PATH_VERSION" '' \
    "github.com/rancher/local-path-provisioner@v$LOCAL_PATH_VERSION"
  go_install nats-server "$NATS_SERVER_VERSION" '' \
    "github.com/nats-io/nats-server/v2@v$NATS_SERVER_VERSION"
  build_program_image pause "$PAUSE_VERSION"
  build_program_image coredns "$COREDNS_VERSION"
  build_program_image nats-server "$NATS_SERVER_VERSION" 65532
  build_busybox_image
}

# The definitions come from the modules of the projects that own them.
collect_crds() {
  local version=$CERT_MANAGER_VERSION+$KEDA_VERSION+$PROMETHEUS_OPERATOR_VERSION folder=$CACHE/crds source
  cached crds "$version" && return
  rm -rf "$folder"
  mkdir -p "$folder"
  source=$(module_folder "github.com/cert-manager/cert-manager@v$CERT_MANAGER_VERSION")
  cp "$source"/deploy/crds/*.yaml "$folder/"
  source=$(module_folder "github.com/kedacore/keda/v2@v$KEDA_VERSION")
  kubectl kustomize "$source/config/crd" >"$folder/keda.yaml"
  source=$(module_folder "github.com/prometheus-operator/prometheus-operator@v$PROMETHEUS_OPERATOR_VERSION")
  cp "$source"/example/prometheus-operator-crd/*.yaml "$folder/"
  chmod -R u+w "$folder"
  mark crds "$version"
}
