# Operators that a chart may be made for, each run as its own project would run it. shellcheck shell=bash

# Runs with the rights of the whole cluster, where the project's own chart names every right.
add_cert_manager() {
  crds
  build_own cert-manager "$CERT_MANAGER_VERSION" "github.com/cert-manager/cert-manager v$CERT_MANAGER_VERSION"
  add_image cert-manager "$CERT_MANAGER_VERSION"
  kubectl apply --server-side -f <(render manifests/cert-manager.yaml) >/dev/null
  kubectl --namespace cert-manager rollout status deployment/cert-manager --timeout=120s >/dev/null
}

# The operator, and the server by which autoscalers ask it for figures.
add_keda() {
  crds
  build_keda
  add_image keda "$KEDA_VERSION"
  add_image keda-adapter "$KEDA_VERSION"
  collect_manifests keda "$KEDA_VERSION" github.com/kedacore/keda/v2 config/minimal
  local_images "$CACHE/manifests/keda.yaml" \
    -e "s#image: ghcr.io/kedacore/keda:.*#image: parley-e2e/keda:$KEDA_VERSION#" \
    -e "s#image: ghcr.io/kedacore/keda-metrics-apiserver:.*#image: parley-e2e/keda-adapter:$KEDA_VERSION#" \
    | kubectl apply --server-side --force-conflicts -f - >/dev/null
  kubectl --namespace keda rollout status deployment --timeout=240s >/dev/null
}

# What `kubectl top` and an autoscaler by processor time or memory ask.
add_metrics_server() {
  go_install metrics-server "$METRICS_SERVER_VERSION" '' \
    "sigs.k8s.io/metrics-server/cmd/metrics-server@v$METRICS_SERVER_VERSION"
  add_image metrics-server "$METRICS_SERVER_VERSION"
  collect_manifests metrics-server "$METRICS_SERVER_VERSION" sigs.k8s.io/metrics-server manifests/base
  local_images "$CACHE/manifests/metrics-server.yaml" \
    -e "s#image: .*/metrics-server:.*#image: parley-e2e/metrics-server:$METRICS_SERVER_VERSION#" \
    -e 's#^\( *\)- --kubelet-use-node-status-port#&\n\1- --kubelet-insecure-tls#' \
    | kubectl apply --server-side -f - >/dev/null
  kubectl --namespace kube-system rollout status deployment/metrics-server --timeout=120s >/dev/null
}

# collect_manifests NAME VERSION MODULE FOLDER: what the project itself would apply.
collect_manifests() {
  cached "manifests/$1.yaml" "$2" && return
  mkdir -p "$CACHE/manifests"
  kubectl kustomize "$(module_folder "$3@v$2")/$4" >"$CACHE/manifests/$1.yaml" 2>/dev/null
  mark "manifests/$1.yaml" "$2"
}

# local_images FILE EDIT…: the images are here already, and the processors of the machine are few.
local_images() {
  local file=$1
  shift
  sed -e 's/imagePullPolicy: Always/imagePullPolicy: IfNotPresent/; s/cpu: 100m/cpu: 10m/' "$@" "$file"
}

add_image() { # PROGRAM VERSION
  build_program_image "$1" "$2" 1000
  load_archives "$CACHE/images/$1.tar"
}

build_keda() {
  local folder=$CACHE/build/keda source
  cached bin/keda "$KEDA_VERSION" && return
  say "cluster: building KEDA $KEDA_VERSION; the first time this takes long"
  source=$(module_folder "github.com/kedacore/keda/v2@v$KEDA_VERSION")
  mkdir -p "$folder"
  {
    printf 'module parley.test/keda\ngo %s\nrequire github.com/kedacore/keda/v2 v%s\n' "$GO_VERSION" "$KEDA_VERSION"
    # A replacement counts only in the module that is built.
    grep '^replace ' "$source/go.mod"
  } >"$folder/go.mod"
  (
    cd "$folder"
    go_build "$CACHE/bin/keda" '' github.com/kedacore/keda/v2/cmd/operator
    go_build "$CACHE/bin/keda-adapter" '' github.com/kedacore/keda/v2/cmd/adapter
  )
  mark bin/keda-adapter "$KEDA_VERSION"
  mark bin/keda "$KEDA_VERSION"
}
