// OVHcloud's own library of its KMS for Go, unchanged, against a running region: every call that it has is made, and what is answered is looked at.
//
// Arguments: `certificate` or `token`, address, domain, directory of `kms dev`; with `token` also a directory with the tokens `allowed`, `stranger`
// and `forged`, and the policies of the domain allow nothing to anybody but the first. No token and no key is printed.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"
	okms "github.com/ovh/okms-sdk-go"
)

// session is the client as somebody whom the domain allows everything, and what there is to become somebody else.
type session struct {
	*okms.Client
	address   string
	domain    uuid.UUID
	directory string
	tokens    string
	calls     *calls
}

var ctx = context.Background()

// patient is how a client asks again when a region is slow; the waits of the library's own choice are for a region far away.
var patient = &okms.RetryConfig{RetryMax: 4, RetryWaitMin: 100 * time.Millisecond, RetryWaitMax: time.Second}

func main() {
	if len(os.Args) < 5 {
		fail("arguments", "they are: certificate or token, address, domain, directory, directory of tokens")
	}
	how := os.Args[1]
	s := &session{address: os.Args[2], domain: uuid.MustParse(os.Args[3]), directory: os.Args[4]}
	s.calls = &calls{made: map[string]int{}, protocols: map[string]int{}}
	middleware := func(next http.RoundTripper) http.RoundTripper {
		s.calls.next = next
		return s.calls
	}
	with := okms.ClientConfig{TlsCfg: s.trust(), Middleware: middleware, Retry: patient, Timeout: p(time.Minute)}
	switch how {
	case "certificate":
		with.TlsCfg = s.certificate()
		s.Client = of(okms.NewRestAPIClient(s.address, with)).must("client")
	case "token":
		s.tokens = os.Args[5]
		s.Client = of(okms.NewRestAPIClient(s.address+"/", with)).must("client")
		s.SetCustomHeader("Authorization", "Bearer "+s.token("allowed"))
	default:
		fail(how, "neither certificate nor token")
	}
	s.SetCustomHeader(headerSet, "yes")
	same("WithCustomHeader gives the client back", s.WithCustomHeader(headerWith, "yes"), s.Client)

	stories := []struct {
		name  string
		story func(*session)
	}{
		{"keys", keys}, {"imports", imports}, {"life", life}, {"lists", lists}, {"encryption", encryption}, {"data keys", dataKeys},
		{"signatures", signatures}, {"signers", signers}, {"secrets v1", secretsV1}, {"secrets v2", secretsV2}, {"refusals", refusals},
		{"transport", transport},
	}
	for _, each := range stories {
		started, before := time.Now(), checks
		each.story(s)
		fmt.Fprintf(os.Stderr, "%s, %s: %d checks, %.1f s\n", how, each.name, checks-before, time.Since(started).Seconds())
	}
	if missing := s.calls.missing(); len(missing) > 0 {
		fail("methods that were not called", "%s", strings.Join(missing, ", "))
	}
	checks++
	var seen []string
	for quirk := range quirks {
		seen = append(seen, quirk)
	}
	sort.Strings(seen)
	for _, quirk := range seen {
		fmt.Printf("quirk of the client: %s\n", quirk)
	}
	fmt.Printf("%d checks\n", checks)
}

// trust is a client without a certificate that knows the region's authority.
func (s *session) trust() *tls.Config {
	roots := x509.NewCertPool()
	ca := of(os.ReadFile(filepath.Join(s.directory, "region/ca.pem"))).must("the region's CA")
	holds("the region's CA is a certificate", roots.AppendCertsFromPEM(ca))
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// certificate is the client whose certificate `kms dev` has made.
func (s *session) certificate() *tls.Config {
	clients := filepath.Join(s.directory, "region/clients")
	pair := of(tls.LoadX509KeyPair(filepath.Join(clients, "client-1.crt"), filepath.Join(clients, "client-1.key"))).must("certificate of kms dev")
	config := s.trust()
	config.Certificates = []tls.Certificate{pair}
	return config
}

func (s *session) token(name string) string {
	return strings.TrimSpace(string(of(os.ReadFile(filepath.Join(s.tokens, name))).must("token " + name)))
}

// other is another client of the same region. It is patient too: a host takes only so much in a second of those whom it does not know.
func (s *session) other(config *tls.Config, token string) *okms.Client {
	client, _ := s.seen(config, token, patient)
	return client
}

// seen is another client of the same region, with what it sends and is answered.
func (s *session) seen(config *tls.Config, token string, retry *okms.RetryConfig) (*okms.Client, *calls) {
	seen := &calls{made: map[string]int{}, protocols: map[string]int{}}
	middleware := func(next http.RoundTripper) http.RoundTripper {
		seen.next = next
		return seen
	}
	with := okms.ClientConfig{TlsCfg: config, Middleware: middleware, Retry: retry}
	client := of(okms.NewRestAPIClient(s.address, with)).must("another client")
	if token != "" {
		client.SetCustomHeader("Authorization", "Bearer "+token)
	}
	return client, seen
}
