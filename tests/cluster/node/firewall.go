package main

import (
	"context"
	"fmt"
	"log"
	"maps"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// firewall keeps one nftables table for the NetworkPolicies over this node's pods. It is rewritten
// whole, in one transaction, after any change that may matter.
type firewall struct {
	node  string
	dirty chan struct{}

	mu      sync.Mutex
	local   map[string]string // addresses of this node's pods by their identity: known before the API server knows
	applied string            // the table that is in force
}

func newFirewall(node string) *firewall {
	return &firewall{node: node, dirty: make(chan struct{}, 1), local: map[string]string{}}
}

func (f *firewall) mark() {
	select {
	case f.dirty <- struct{}{}:
	default:
	}
}

// admit returns when the rules know the address: a pod must not run before them.
func (f *firewall) admit(ctx context.Context, uid, address string) error {
	f.mu.Lock()
	f.local[uid] = address
	f.mu.Unlock()
	for f.mark(); ; {
		f.mu.Lock()
		known := strings.Contains(f.applied, " "+address+" . ")
		f.mu.Unlock()
		if known {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the rules for %s are not in force", address)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (f *firewall) forget(uid string) {
	f.mu.Lock()
	delete(f.local, uid)
	f.mu.Unlock()
	f.mark()
}

// run watches what the rules follow from.
func (f *firewall) run(ctx context.Context, client kubernetes.Interface) {
	factory := informers.NewSharedInformerFactory(client, 0)
	pods, spaces := factory.Core().V1().Pods(), factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), spaces.Informer(), policies.Informer()} {
		_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { f.mark() }, UpdateFunc: func(any, any) { f.mark() }, DeleteFunc: func(any) { f.mark() }})
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for range f.dirty {
		w := world{node: f.node, spaces: map[string]labels.Set{}}
		all, _ := spaces.Lister().List(labels.Everything())
		for _, s := range all {
			w.spaces[s.Name] = s.Labels
		}
		known, _ := pods.Lister().List(labels.Everything())
		w.policies, _ = policies.Lister().List(labels.Everything())
		f.mu.Lock()
		w.place(known, maps.Clone(f.local))
		f.mu.Unlock()
		if rules := w.rules(); rules != f.applied {
			if err := feed("nft", []string{"-f", "-"}, rules); err != nil {
				log.Print("NetworkPolicies not applied: ", err)
				continue
			}
			f.mu.Lock()
			f.applied = rules
			f.mu.Unlock()
		}
		time.Sleep(20 * time.Millisecond) // several changes, one rewrite
	}
}
