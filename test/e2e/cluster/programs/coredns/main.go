// CoreDNS with the plugins that a cluster's own names need, and no others: it links in a fraction of the time.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order of handling; unlike in CoreDNS's own list, a template has the last word, not the first.
	dnsserver.Directives = []string{
		"ready", "health", "errors", "log", "loadbalance", "cache", "hosts", "kubernetes", "template",
	}
	coremain.Run()
}
