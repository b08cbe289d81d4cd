package main

import (
	"maps"
	"net/http"
	"reflect"
	"runtime"
	"sort"
	"strings"
	"sync"

	okms "github.com/ovh/okms-sdk-go"
)

const (
	sdk        = "github.com/ovh/okms-sdk-go."
	headerSet  = "X-Kms-Clients-Set"
	headerWith = "X-Kms-Clients-With"
)

// lastRequestId is what the last answer called its request.
var lastRequestId string

// calls knows which methods of the client have sent something: those that stood on the stack when a request went out.
type calls struct {
	lock      sync.Mutex
	next      http.RoundTripper
	made      map[string]int
	protocols map[string]int
	// tooMany is how many answers were 429, also those that the library has asked again after.
	tooMany int
}

// RoundTrip passes a request on.
func (c *calls) RoundTrip(request *http.Request) (*http.Response, error) {
	var counters [128]uintptr
	c.lock.Lock()
	defer c.lock.Unlock()
	frames := runtime.CallersFrames(counters[:runtime.Callers(2, counters[:])])
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if name, ok := strings.CutPrefix(frame.Function, sdk); ok {
			c.made[name]++
		}
	}
	// Two methods send nothing themselves, but change what is sent.
	for header, method := range map[string]string{headerSet: "SetCustomHeader", headerWith: "WithCustomHeader"} {
		if request.Header.Get(header) != "" {
			c.made["(*Client)."+method]++
		}
	}
	c.lock.Unlock()
	response, err := c.next.RoundTrip(request)
	c.lock.Lock()
	if err == nil {
		lastRequestId = response.Header.Get("X-Request-Id")
		c.protocols[response.Proto]++
		if response.StatusCode == http.StatusTooManyRequests {
			c.tooMany++
		}
	}
	return response, err
}

// missing names what the client offers and nobody has called, or what never came to send anything.
func (c *calls) missing() []string {
	// What makes something that sends, and what it makes.
	makes := map[string]string{
		"DataKeys":              "(*DataKeyProvider).",
		"ListAllServiceKeys":    "(*KeyIter).",
		"ListAllSecrets":        "(*SecretIter).",
		"ListAllSecretVersions": "(*SecretVersionIter).",
		"NewSigner":             "(*jwkSigner).",
	}
	var names []string
	none := func(prefixes ...string) bool {
		for name := range c.made {
			for _, prefix := range prefixes {
				if name == prefix || strings.HasSuffix(prefix, ".") && strings.HasPrefix(name, prefix) {
					return false
				}
			}
		}
		return true
	}
	offered := methods(reflect.TypeFor[*okms.Client]())
	maps.Copy(offered, methods(reflect.TypeFor[okms.API]()))
	for method := range offered {
		if made, ok := makes[method]; ok && none(made) || !ok && none("(*apiClient)."+method, "(*Client)."+method) {
			names = append(names, method)
		}
	}
	for method := range methods(reflect.TypeFor[*okms.DataKeyProvider]()) {
		if none("(*DataKeyProvider)." + method) {
			names = append(names, "DataKeyProvider."+method)
		}
	}
	sort.Strings(names)
	return names
}

func methods(of reflect.Type) map[string]bool {
	names := map[string]bool{}
	for at := range of.NumMethod() {
		names[of.Method(at).Name] = true
	}
	return names
}
