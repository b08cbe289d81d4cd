package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/ovh/okms-sdk-go/types"
)

type (
	key = types.GetServiceKeyResponse
	ops = []types.CryptographicUsages
)

var (
	encrypts = ops{types.Encrypt, types.Decrypt}
	wraps    = ops{types.WrapKey, types.UnwrapKey}
	signs    = ops{types.Sign, types.Verify}
	jwk      = types.Jwk
	curves   = map[types.Curves]elliptic.Curve{types.P256: elliptic.P256(), types.P384: elliptic.P384(), types.P521: elliptic.P521()}
)

// state of a key, as it is shown now.
func (s *session) state(what string, id uuid.UUID) (string, map[string]any) {
	shown := of(s.GetServiceKey(ctx, s.domain, id, nil)).must(what)
	attributes := value(what+": attributes", shown.Attributes)
	state, _ := attributes["state"].(string)
	return state, attributes
}

// moment reads a date of a key's attributes, which must be of the last hour.
func moment(what string, attributes map[string]any, name string) time.Time {
	text, _ := attributes[name].(string)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		fail(what, "%s is %v, no date", name, attributes[name])
	}
	holds(what+": "+name, time.Since(at).Abs() < time.Hour)
	return at
}

// keys makes one of each kind and looks at all that is said of it.
func keys(s *session) {
	for _, size := range []types.KeySizes{types.N128, types.N192, types.N256} {
		what := fmt.Sprintf("oct %d", size)
		made := of(s.GenerateSymmetricKey(ctx, s.domain, size, what, "a context", encrypts...)).must(what)
		s.isMade(what, made, types.Oct, encrypts)
		same(what+": size", value(what+": size", made.Size), size)
		of(s.ExportJwkPublicKey(ctx, s.domain, made.Id)).bad(what + " has no public half")
		of(s.ExportPublicKey(ctx, s.domain, made.Id)).bad(what + " has no public half, of any form")
		of(s.NewSigner(ctx, s.domain, made.Id)).bad(what + " signs nothing")
	}
	for _, size := range []types.KeySizes{types.N2048, types.N3072, types.N4096} {
		what := fmt.Sprintf("RSA %d", size)
		made := of(s.GenerateRSAKeyPair(ctx, s.domain, size, what, "", signs...)).must(what)
		s.isMade(what, made, types.RSA, signs)
		same(what+": size", value(what+": size", made.Size), size)
		public, ok := of(s.ExportPublicKey(ctx, s.domain, made.Id)).must(what + ": public half").(*rsa.PublicKey)
		holds(what+": its public half is one of RSA", ok)
		same(what+": length of n", public.N.BitLen(), int(size))
		same(what+": e", public.E, 65537)
	}
	for name, curve := range curves {
		what := "EC " + string(name)
		made := of(s.GenerateECKeyPair(ctx, s.domain, name, what, "c", signs...)).must(what)
		s.isMade(what, made, types.EC, signs)
		same(what+": curve", value(what+": curve", made.Curve), name)
		public, ok := of(s.ExportPublicKey(ctx, s.domain, made.Id)).must(what + ": public half").(*ecdsa.PublicKey)
		holds(what+": its public half is one of a curve", ok && public.Curve == curve)
		_, err := public.ECDH()
		done(what+": its point is on the curve", err)
	}
	// Nothing is said of what it is for: what is usual for the kind.
	made := of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, "usual", "")).must("without operations")
	s.isMade("without operations", made, types.Oct, encrypts)
	pair := of(s.GenerateECKeyPair(ctx, s.domain, types.P256, "usual", "")).must("a pair without operations")
	s.isMade("a pair without operations", pair, types.EC, signs)
	bare := of(s.CreateImportServiceKey(ctx, s.domain, nil, types.CreateImportServiceKeyRequest{Name: "bare"})).must("a name alone")
	s.isMade("a name alone", bare, types.Oct, encrypts)
	same("a name alone: size", value("a name alone: size", bare.Size), types.N256)
	asked := types.CreateImportServiceKeyRequest{Name: "shown", Type: p(types.RSA), Size: p(types.N2048), Operations: &wraps}
	transport := of(s.CreateImportServiceKey(ctx, s.domain, &jwk, asked)).must("a pair that is shown as it is made")
	s.isMade("a pair that wraps", transport, types.RSA, wraps)
	same("a pair that is shown as it is made", len(value("its public half", transport.Keys)), 1)

	// Bounds are of characters, whatever they take.
	long := strings.Repeat("é🔑", 16)
	wide := of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, long, long+long, encrypts...)).must("a long name")
	same("a long name", wide.Name, long)
	sealed := of(s.Encrypt(ctx, s.domain, wide.Id, long+long, []byte("x"))).must("a long context")
	equal("a long context", of(s.Decrypt(ctx, s.domain, wide.Id, long+long, sealed)).must("a long context"), []byte("x"))

	renamed := of(s.UpdateServiceKey(ctx, s.domain, made.Id, types.PatchServiceKeyRequest{Name: "new name"})).must("another name")
	same("another name", renamed.Name, "new name")
	made.Name = "new name"
	same("a renamed key is else as it was", renamed, made)
	same("another name is kept", of(s.GetServiceKey(ctx, s.domain, made.Id, nil)).must("renamed"), made)
}

// isMade looks at a key that was just made, and at what is shown of it from then on.
func (s *session) isMade(what string, made *key, kind types.KeyTypes, wanted ops) {
	holds(what+": id", made.Id != uuid.Nil)
	same(what+": type", made.Type, kind)
	same(what+": operations", value(what+": operations", made.Operations), wanted)
	same(what+": with a curve", made.Curve != nil, kind == types.EC)
	state, attributes := s.state(what, made.Id)
	same(what+": state", state, "active")
	moment(what, attributes, "original_creation_date")
	moment(what, attributes, "activation_date")
	same(what+": no other dates", [2]any{attributes["deactivation_date"], attributes["compromise_date"]}, [2]any{})
	bare := *made
	bare.Keys = nil
	same(what+": as it is shown", of(s.GetServiceKey(ctx, s.domain, made.Id, nil)).must(what), &bare)
	full := of(s.GetServiceKey(ctx, s.domain, made.Id, &jwk)).must(what + ", with its public half")
	if kind == types.Oct {
		holds(what+": nothing of it is shown", full.Keys == nil || len(*full.Keys) == 0)
		return
	}
	shown := value(what+": public half", full.Keys)
	same(what+": public halves", len(shown), 1)
	same(what+": kid", shown[0].Kid, made.Id.String())
	same(what+": kty", shown[0].Kty, kind)
	for _, secret := range []*string{shown[0].D, shown[0].P, shown[0].Q, shown[0].Dp, shown[0].Dq, shown[0].Qi, shown[0].K} {
		holds(what+": nothing secret is shown", secret == nil)
	}
}

// life leads keys through all their states.
func life(s *session) {
	plain := []byte("while it lives")
	reasons := map[types.RevocationReasons]string{
		types.Unspecified: "deactivated", types.AffiliationChanged: "deactivated", types.Superseded: "deactivated",
		types.CessationOfOperation: "deactivated", types.PrivilegeWithdrawn: "deactivated",
		types.KeyCompromise: "compromised", types.CaCompromise: "compromised",
	}
	for reason, wanted := range reasons {
		what := string(reason)
		id := of(s.GenerateSymmetricKey(ctx, s.domain, types.N256, what, "", encrypts...)).must(what).Id
		sealed := of(s.Encrypt(ctx, s.domain, id, "", plain)).must(what + ": encrypts")
		refused(what+": an active key is not deleted", s.DeleteServiceKey(ctx, s.domain, id), 409, wrongState)
		done(what+": an active key is activated", s.ActivateServiceKey(ctx, s.domain, id))
		done(what, s.DeactivateServiceKey(ctx, s.domain, id, reason))
		state, attributes := s.state(what, id)
		same(what+": state", state, wanted)
		moment(what, attributes, "deactivation_date")
		if wanted == "compromised" {
			moment(what, attributes, "compromise_date")
		} else {
			same(what+": is not compromised", attributes["compromise_date"], nil)
		}
		done(what+": once more", s.DeactivateServiceKey(ctx, s.domain, id, reason))
		of(s.Encrypt(ctx, s.domain, id, "", plain)).refused(what+": encrypts no more", 409, wrongState)
		equal(what+": what it has encrypted is still read", of(s.Decrypt(ctx, s.domain, id, "", sealed)).must(what), plain)
		of(s.ExportJwkPublicKey(ctx, s.domain, id)).bad(what + ": is not exported")

		done(what+": activated again", s.ActivateServiceKey(ctx, s.domain, id))
		state, attributes = s.state(what, id)
		same(what+": state, activated again", state, "active")
		same(what+": dates are gone", [2]any{attributes["deactivation_date"], attributes["compromise_date"]}, [2]any{})
		equal(what+": decrypts again", of(s.Decrypt(ctx, s.domain, id, "", sealed)).must(what), plain)

		done(what+": for good", s.DeactivateServiceKey(ctx, s.domain, id, reason))
		done(what+": deleted", s.DeleteServiceKey(ctx, s.domain, id))
		state, _ = s.state(what, id)
		destroyed := map[string]string{"deactivated": "destroyed", "compromised": "destroyed_compromised"}[wanted]
		same(what+": state, deleted", state, destroyed)
		of(s.Decrypt(ctx, s.domain, id, "", sealed)).refused(what+": a destroyed key decrypts nothing", 409, wrongState)
		refused(what+": a destroyed key is not activated", s.ActivateServiceKey(ctx, s.domain, id), 409, wrongState)
		refused(what+": a destroyed key is not deleted", s.DeleteServiceKey(ctx, s.domain, id), 409, wrongState)
		rename := types.PatchServiceKeyRequest{Name: "never"}
		of(s.UpdateServiceKey(ctx, s.domain, id, rename)).refused(what+": a destroyed key is not renamed", 409, wrongState)
		in := map[string]bool{}
		for _, states := range []types.KeyStates{types.KeyStates(destroyed), types.KeyStatesAll, types.KeyStatesActive} {
			in[string(states)] = s.lists(&states)[id]
		}
		in["without a state"] = s.lists(nil)[id]
		same(what+": lists", in, map[string]bool{destroyed: true, "all": true, "active": false, "without a state": false})
	}
}

// lists gives the ids of a list, page after page.
func (s *session) lists(state *types.KeyStates) map[uuid.UUID]bool {
	found := map[uuid.UUID]bool{}
	for each, err := range s.ListAllServiceKeys(s.domain, p(uint32(100)), state).Iter(ctx) {
		if err != nil {
			fail("list", "%v", err)
		}
		found[each.Id] = true
	}
	return found
}

// lists reads all keys page by page, in the three ways that the client has.
func lists(s *session) {
	for at := range 25 {
		name := fmt.Sprintf("page %d", at)
		of(s.GenerateSymmetricKey(ctx, s.domain, types.N128, name, "")).must(name)
	}
	size := uint32(10)
	var paged []key
	var token *string
	pages := 0
	for {
		page := of(s.ListServiceKeys(ctx, s.domain, token, &size, nil)).must("page")
		pages++
		paged = append(paged, page.ObjectsList...)
		if !page.IsTruncated {
			break
		}
		same("a page that is not the last is full", len(page.ObjectsList), int(size))
		holds("a page that is not the last leads to the next", page.ContinuationToken != "")
		token = &page.ContinuationToken
	}
	holds("there are several pages", pages >= 3)
	known := map[uuid.UUID]bool{}
	ordered := true
	for at, each := range paged {
		ordered = ordered && (at == 0 || paged[at-1].Id.String() < each.Id.String())
		known[each.Id] = true
	}
	holds("a list is in order, and has each key once", ordered && len(known) == len(paged))
	for _, each := range []key{paged[0], paged[len(paged)-1]} {
		same("a key in a list is as it is", &each, of(s.GetServiceKey(ctx, s.domain, each.Id, nil)).must("a key of a list"))
	}
	var stepped, ranged []key
	steps := s.ListAllServiceKeys(s.domain, &size, p(types.KeyStatesActive))
	for steps.Next(ctx) {
		each, err := steps.Value()
		if err != nil {
			fail("a step", "%v", err)
		}
		stepped = append(stepped, *each)
	}
	for each, err := range s.ListAllServiceKeys(s.domain, &size, nil).Iter(ctx) {
		if err != nil {
			fail("one of a range", "%v", err)
		}
		ranged = append(ranged, *each)
	}
	same("a range is what pages are", ranged, paged)
	var active []key
	for _, each := range paged {
		if (*each.Attributes)["state"] == "active" {
			active = append(active, each)
		}
	}
	same("active ones, step by step", stepped, active)
	one := of(s.ListServiceKeys(ctx, s.domain, nil, p(uint32(100)), nil)).must("one page of 100")
	same("one page of 100", one.ObjectsList, paged[:min(100, len(paged))])

	none := p(types.KeyStatesPreActive)
	same("none is of this state", len(of(s.ListServiceKeys(ctx, s.domain, nil, nil, none)).must("an empty page").ObjectsList), 0)
	of(s.ListServiceKeys(ctx, s.domain, nil, p(uint32(9)), nil)).refused("a page of 9", 400, badArgument)
	of(s.ListServiceKeys(ctx, s.domain, nil, p(uint32(101)), nil)).refused("a page of 101", 400, badArgument)
	of(s.ListServiceKeys(ctx, s.domain, p("nonsense"), nil, nil)).refused("a token that leads nowhere", 400, badArgument)
	of(s.ListServiceKeys(ctx, s.domain, nil, nil, p(types.KeyStates("asleep")))).refused("a state that there is not", 400, badArgument)
	broken := s.ListAllServiceKeys(s.domain, p(uint32(1)), nil)
	holds("an iterator goes to its error", broken.Next(ctx))
	of(broken.Value()).refused("an iterator says its error", 400, badArgument)
	holds("an iterator ends with its error", !broken.Next(ctx))
}
